/**
 * Canaries: the engine broken on purpose, one place at a time. Each is a text of the source and what stands there instead; the text has to
 * be found exactly once, so that the table cannot rot. mutant-run.ts plays against each; one that nobody catches says that the proof is
 * too weak there, or that what was broken is not needed.
 */

/** One text of the source, and what stands there instead. */
export interface Change {
  readonly file: string;
  readonly text: string;
  readonly instead: string;
}

/** One way to break the engine. */
export interface Mutant extends Change {
  readonly name: string;
  /** What has to be broken as well, where one rule alone is backed by another. */
  readonly and?: readonly Change[] | undefined;
  /** The test file that has to fail: where plays have no such fault, or meet it only by luck. */
  readonly test?: string | undefined;
  /** Why no play can catch it: another rule does the same work. Such a mutant has to survive, else this is wrong. */
  readonly redundant?: string | undefined;
}

const RECOVERY = 'src/store/recovery/recovery.ts';
const LOADER = 'src/store/recovery/checkpoint-loader.ts';
const JOURNAL = 'src/store/recovery/journal.ts';
const KEEPER = 'src/store/recovery/root-keeper.ts';
const ROOT = 'src/store/recovery/root-area.ts';
const READER = 'src/store/extents/extent-reader.ts';
const WRITER = 'src/store/extents/slice-writer.ts';
const CATALOGUE = 'src/store/index/catalogue.ts';
const HEADER = 'src/format/extent-header.ts';

export const MUTANTS: readonly Mutant[] = [
  // Flushes and orders.
  {
    name: 'the superblock does not wait for the checkpoint',
    file: KEEPER,
    text: '      await journal.flush();\n      await device.flush();\n',
    instead: '      await journal.flush();\n',
    test: 'test/store/root-keeper.test.ts',
  },
  {
    name: 'a start speaks of what the disk may yet forget',
    file: KEEPER,
    text: '      await device.flush();\n    } catch (error) {\n',
    instead: '    } catch (error) {\n',
    test: 'test/store/root-keeper.test.ts',
  },
  {
    name: 'a checkpoint without the records of its time',
    file: KEEPER,
    text: '      await journal.flush();\n',
    instead: '',
    redundant: 'what it misses was not durable; what it has too much is unproved and refuted by its header',
  },
  {
    name: 'a table of contents of another checkpoint',
    file: LOADER,
    text: ' || crc !== entries.reduce((chain, entry) => chainCrc(chain, entry.crc), 0)) return undefined;',
    instead: ') return undefined;',
    test: 'test/store/checkpoint-loader.test.ts',
  },
  {
    name: 'a part of another checkpoint than the table of contents is of',
    file: LOADER,
    text: ' && whole.crc === (this.#contents?.crcs[part] ?? whole.crc)',
    instead: '',
    test: 'test/store/checkpoint-loader.test.ts',
  },
  {
    name: 'a part of a checkpoint is taken as often as it is asked for',
    file: LOADER,
    text: ' if (this.#states[part] === UNTOUCHED) return part;',
    instead: ' if (this.#states[part] !== TAKEN) return part;',
    test: 'test/store/checkpoint-loader.test.ts',
  },
  {
    name: 'what is dropped while loading is dropped only where something can be looked up',
    file: 'src/store/device-store.ts',
    text: "if (this.#state === 'loading') this.#dropLater(objectHash);",
    instead: "if (this.#state === 'loading' && this.#early !== undefined) this.#dropLater(objectHash);",
    test: 'test/store/loading.test.ts',
  },
  {
    name: 'what the journal names is answered from the checkpoint',
    file: 'src/store/recovery/early-reader.ts',
    text: ' || this.#options.view.named.has(tagLow, tagHigh)',
    instead: '',
    test: 'test/store/loading.test.ts',
  },
  {
    name: 'a purge that leaves what was replaced to its readers',
    file: 'src/store/purges/purge-desk.ts',
    text: '    if (!purge.isSoft) this.#dropRetired(matches);\n',
    instead: '',
    test: 'test/store/slice-store-contract.test.ts',
  },
  {
    name: 'what was replaced stays after its last reader',
    file: 'src/store/mounted-store.ts',
    text: "    this.#readable()?.catalogue.dropRetired(generation, 'other');\n",
    instead: '',
  },
  {
    name: 'the superblock before its checkpoint',
    file: KEEPER,
    text: '      const written = await writeCheckpoint(',
    instead:
      '      await this.#commit(() => ({ checkpoint: { ...current, ...target, journalStart: nextSequence }, previous: readable }));\n      const written = await writeCheckpoint(',
    test: 'test/store/root-keeper.test.ts',
  },
  {
    name: 'superblocks are not flushed',
    file: ROOT,
    text: '        await this.#device.flush();\n',
    instead: '',
    test: 'test/store/root-area.test.ts',
  },
  {
    name: 'a superblock that replaces the newest',
    file: ROOT,
    text: '(1 + (sequence % geometry.superblockCount))',
    instead: '1',
    test: 'test/store/root-area.test.ts',
  },
  {
    name: 'a purge that is acknowledged before its flush',
    file: JOURNAL,
    text: '    while (this.#flushed < target && this.#written >= target && this.#failure === undefined) await this.#flushDevice();\n    if (this.#flushed >= target) return;',
    instead: '    if (this.#written >= target) return;',
  },
  {
    name: 'a flush counts what was written after it began',
    file: JOURNAL,
    text: '      await this.#options.device.flush();\n      this.#flushed = Math.max(this.#flushed, written);',
    instead: '      await this.#options.device.flush();\n      this.#flushed = Math.max(this.#flushed, written, this.#written);',
    test: 'test/store/journal.test.ts',
  },
  {
    name: 'a later journal block before the flush of a purge',
    file: JOURNAL,
    text: '    while (hasPurge && this.#flushed < written && this.#failure === undefined) await this.#flushDevice();',
    instead: '',
    test: 'test/store/journal.test.ts',
  },
  {
    name: 'a purge in the midst of a write of several journal blocks',
    file: JOURNAL,
    text: 'endsWithPurge ? (divFloor(purgeAt, perBlock) + 1) * perBlock : blocksMax * perBlock',
    instead: 'blocksMax * perBlock',
    test: 'test/store/journal.test.ts',
  },
  {
    name: 'the journal overtakes its checkpoint',
    file: JOURNAL,
    text: '    return this.#position.nextSequence - this.#startSequence +',
    instead: '    return 0 *',
    test: 'test/store/journal.test.ts',
  },
  {
    name: 'the journal forgets where replay begins',
    file: KEEPER,
    text: 'journalStart: nextSequence, journal',
    instead: 'journalStart: journal.position.nextSequence, journal',
    test: 'test/store/root-keeper.test.ts',
  },
  {
    name: 'checkpoints always in one zone',
    file: KEEPER,
    text: 'zone: 1 - readable.zone',
    instead: 'zone: 0',
    test: 'test/store/root-keeper.test.ts',
  },
  {
    name: 'the index names an extent before its write',
    file: 'src/store/extents/extent-writer.ts',
    text: 'await this.#device.write(',
    instead: 'void this.#device.write(',
  },
  // Replay.
  {
    name: 'journal: a block of another sequence',
    file: RECOVERY,
    text: 'header?.sequence === sequence && ',
    instead: 'header !== undefined && ',
    redundant: 'the CRC of the block before it fits one block only',
  },
  {
    name: 'journal: previous CRC ignored',
    file: RECOVERY,
    text: ' && header.previousCrc === at.previousCrc',
    instead: '',
    redundant: 'sequence and epoch of a block say the same, as long as no epoch is used twice; see the rolled back labels',
  },
  {
    name: 'journal: epoch ignored',
    file: RECOVERY,
    text: ' && header.epoch >= epoch;',
    instead: ';',
    redundant: 'the CRC of the block before it fits one block only',
  },
  {
    name: 'journal: no look behind the end',
    file: RECOVERY,
    text: '      if (isLater) take(block, header, true);\n',
    instead: '',
    test: 'test/store/damage.test.ts',
  },
  {
    name: 'a missing purge is not missed',
    file: RECOVERY,
    text: '      else if (header.purgeSequence > this.#purgeSequence) isPurgeMissing = true;\n',
    instead: '',
    test: 'test/store/damage.test.ts',
  },
  {
    name: 'replay ignores purges',
    file: RECOVERY,
    text: 'else if (record.type === JOURNAL_TYPES.purge) this.#replayPurge(record);',
    instead: '',
  },
  {
    name: 'replay ignores deletes',
    file: RECOVERY,
    text: 'else if (record.type === JOURNAL_TYPES.delete) this.#delete(record, isManifest);',
    instead: '',
    test: 'test/store/replay.test.ts',
  },
  {
    name: 'replay ignores a purge of everything',
    file: RECOVERY,
    text: '    yield* this.#dropBelow(this.#purgedGeneration);\n',
    instead: '',
    redundant: 'the memory of purges hides every generation below it',
  },
  {
    name: 'replay: an older generation replaces a newer',
    file: RECOVERY,
    text: '      if (known > generation) return NO_SLOT;\n',
    instead: '      if (known > generation) {\n        index.removeManifest(tagSlot);\n        tagSlot = NO_SLOT;\n      }\n',
    redundant: 'what the image has newer than its beginning, the journal puts once more',
  },
  {
    name: 'replay: an older record replaces a newer',
    file: RECOVERY,
    text: 'this.#index.writeSequence(slot) < entry.writeSequence;',
    instead: 'this.#index.writeSequence(slot) > entry.writeSequence;',
    test: 'test/store/replay.test.ts',
  },
  {
    name: 'overlaps: the oldest has the blocks',
    file: RECOVERY,
    text: 'for (let at = sorted.length - 1; at >= 0; at -= 1) {',
    instead: 'for (let at = 0; at < sorted.length; at += 1) {',
    test: 'test/store/replay.test.ts',
  },
  {
    name: 'orphans keep their blocks',
    file: RECOVERY,
    text: '    index.removeSlice(slot);\n    this.#report.orphans += 1;',
    instead: '    this.#report.orphans += 1;',
  },
  {
    name: 'generations are given again',
    file: KEEPER,
    text: 'generationFloor = generations.next + step;',
    instead: 'generationFloor = 1;',
  },
  {
    name: 'numbers of records are used again',
    file: KEEPER,
    text: 'writeSequenceFloor = writeSequences.next + step;',
    instead: 'writeSequenceFloor = 1;',
    redundant: 'generation, own block and the CRC of each chunk tell a record from one that was lost',
  },
  {
    name: 'the bitmap is not derived',
    file: RECOVERY,
    text: 'if (this.#allocator.tryClaim(block, blocks, bandOf(kind, blocks))) return;',
    instead: 'return;',
  },
  {
    name: 'replay has no spare entries',
    file: RECOVERY,
    text: '2 * geometry.journalBlocks * journalRecordsPerBlock(geometry.blockSizeBytes)',
    instead: '0',
    test: 'test/store/turnover.test.ts',
  },
  {
    name: 'what a crash left counts as proved',
    file: RECOVERY,
    text: '      if (!isClean) index.markUnproved(slot);\n',
    instead: '',
    test: 'test/store/damage.test.ts',
  },
  {
    name: 'journal: any block that stands in the place',
    file: RECOVERY,
    text: 'header?.sequence === sequence && header.previousCrc === at.previousCrc && header.epoch >= epoch;',
    instead: 'header !== undefined;',
  },
  {
    name: 'journal: what an older writer left behind the end counts',
    file: RECOVERY,
    text: ' && header.epoch >= Math.max(epoch, this.#root.superblock.epoch);',
    instead: ';',
    test: 'test/store/replay.test.ts',
  },
  {
    name: 'the older checkpoint is written over while it serves',
    file: KEEPER,
    text: 'zone: 1 - readable.zone',
    instead: 'zone: 1 - current.zone',
    test: 'test/store/damage.test.ts',
  },
  // Reading.
  {
    name: 'chunks are not verified',
    file: READER,
    text: 'if (!verifyChunks(chunks, { writeSequence: header.writeSequence, firstChunk: run.firstChunk, bytes }))',
    instead: 'if (run === undefined)',
    test: 'test/store/damage.test.ts',
  },
  {
    name: 'MAC of an extent ignored',
    file: HEADER,
    text: '  if (Buffer.compare(getBytes(block, 0, EXTENT_HEADER.mac), headerMac(block, headerBytes, identity)) !== 0) return undefined;\n',
    instead: '',
    test: 'test/format/codecs.test.ts',
  },
  {
    name: 'CRC of an extent header ignored',
    file: HEADER,
    text: '  if (getNumber(block, 0, EXTENT_HEADER.crc) !== crc32Around(block, block.length, EXTENT_HEADER.crc)) return undefined;\n',
    instead: '',
    redundant: 'the MAC covers every byte that the CRC covers and that is looked at',
  },
  {
    name: 'write sequence of an extent ignored',
    file: READER,
    text: 'header.writeSequence === place.writeSequence && ',
    instead: '',
    redundant: 'a block that was used again holds another generation or slice, or the same bytes',
  },
  {
    name: 'generation and slice number of an extent ignored',
    file: READER,
    text: 'isPlace && isRecord && isSlice && isLength',
    instead: 'isPlace && isRecord && isLength',
    redundant: 'no two records on a device have a write sequence in common',
  },
  {
    name: 'own block of an extent ignored',
    file: READER,
    text: 'header.ownBlock === place.block && ',
    instead: '',
    redundant: 'no two records on a device have a write sequence in common',
  },
  {
    name: 'every check of an extent but its CRC ignored',
    file: READER,
    text: 'return isPlace && isRecord && isSlice && isLength && isPartSound(header, kind);',
    instead: 'return isLength && isPartSound(header, kind);',
    test: 'test/store/damage.test.ts',
  },
  // Writing and evicting.
  {
    name: 'blocks of a replaced extent are not given back',
    file: CATALOGUE,
    text: '    if (old.blocks > 0) this.allocator.release(old.block, old.blocks);\n',
    instead: '',
  },
  {
    name: 'eviction keeps no record',
    file: CATALOGUE,
    text: '    this.journal.append({ ...EMPTY_RECORD, type: JOURNAL_TYPES.delete, generation, sliceNumber, writeSequence });\n',
    instead: '',
    redundant: 'a stale entry is refuted by the header, and its blocks go to the newer record',
  },
  {
    name: 'a purged slice is written all the same',
    file: WRITER,
    text: 'else if (slice.isForfeited) this.#forfeit(verdict.place);',
    instead: '',
    redundant: 'the index takes no slice without its manifest',
  },
];
