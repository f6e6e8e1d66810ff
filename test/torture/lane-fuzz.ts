/**
 * `npm run fuzz:lanes -- --seed N --count M`: the duel of the two lanes for M requests. Prints the seed, how it goes, and where the
 * lanes differ; the exit code says whether they did.
 */
import { parseArgs } from 'node:util';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { duel } from './lane-duel.ts';

const PROGRESS_MS = 10_000;

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(new SystemRandom().integerBelow(2 ** 20)) },
    count: { type: 'string', default: '100000' },
    duellists: { type: 'string', default: '8' },
  },
});
const clock = new SystemClock();
const startedMs = clock.monotonicMs();
let saidMs = startedMs;
process.stdout.write(`seed ${values.seed}, ${values.count} requests\n`);
const tally = await duel({
  seed: Number(values.seed),
  duellists: Number(values.duellists),
  isOver: ({ requests }) => requests >= Number(values.count),
  onProgress: ({ requests, connections }) => {
    if (clock.monotonicMs() - saidMs < PROGRESS_MS) return;
    saidMs = clock.monotonicMs();
    process.stdout.write(`${requests} requests on ${connections} connections\n`);
  },
});
process.stdout.write(`${JSON.stringify(tally)}, ${Math.round((clock.monotonicMs() - startedMs) / 1000)} s: no difference\n`);
