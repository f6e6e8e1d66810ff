import assert from 'node:assert/strict';
import { openSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { SystemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { LogBuffer } from '../../src/base/log-buffer.ts';
import { eventually } from '../helpers/eventually.ts';
import { withTemporaryDirectory } from '../helpers/temp.ts';

test('lines are written in their order: when they have waited, when they are many, and at the end', async () => {
  await withTemporaryDirectory(async (directory) => {
    const file = path.join(directory, 'log');
    const fd = openSync(file, 'w');
    const numbers = (): number[] =>
      readFileSync(file, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line).number);
    const stream = new LogBuffer(fd, new SystemClock());
    const logger = createLogger({ level: 'info', stream });
    logger.info({ number: 0 });
    assert.deepEqual(numbers(), [], 'a line waits for others');
    await eventually(() => numbers().length === 1, { what: 'the line that has waited' });
    for (let number = 1; number < 1000; number += 1) logger.info({ number });
    await eventually(() => numbers().length >= 900, { what: 'most of many lines' });
    logger.info({ number: 1000 });
    await eventually(() => numbers().length === 1001, { what: 'all lines' });
    logger.info({ number: 1001 });
    stream.flushNow();
    logger.info({ number: 1002 });
    await stream.close();
    assert.deepEqual(
      numbers(),
      Array.from({ length: 1003 }, (_, number) => number),
    );
  });
});
