/** Every question, in the order of the targets. */
import type { Question } from '../harness/question.ts';
import { memoryHits } from './p01-memory-hits.ts';
import { coldDownload } from './p04-cold-download.ts';
import { firstByte } from './p05-first-byte.ts';
import { connections } from './p12-connections.ts';

/** In the order of the targets. */
export const QUESTIONS: readonly Question[] = [memoryHits, coldDownload, firstByte, connections];
