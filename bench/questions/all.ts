/** Every question, in the order of the targets. P11 waits for workers. */
import type { Question } from '../harness/question.ts';
import { memoryHits } from './p01-memory-hits.ts';
import { largeHits } from './p02-large-hits.ts';
import { deviceHits } from './p03-device-hits.ts';
import { coldDownload } from './p04-cold-download.ts';
import { firstByte } from './p05-first-byte.ts';
import { oneObject } from './p06-one-object.ts';
import { memory } from './p07-memory.ts';
import { index } from './p08-index.ts';
import { oneRecord } from './p09-one-record.ts';
import { eviction } from './p10-eviction.ts';
import { connections } from './p12-connections.ts';
import { stalledClients } from './stalled-clients.ts';

/** In the order of the targets. */
export const QUESTIONS: readonly Question[] = [
  memoryHits,
  largeHits,
  deviceHits,
  coldDownload,
  firstByte,
  oneObject,
  memory,
  index,
  oneRecord,
  eviction,
  connections,
  stalledClients,
];
