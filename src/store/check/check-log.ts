/**
 * What a check found, by kinds. Every kind has a code for programs, and says what it costs and what to do. Bounded: of each kind the first
 * hundred places are kept, all are counted.
 */

/** Notes of one code that are kept. */
const NOTES_MAX = 100;

/** Kinds of damage. `cost`: what it means for the cache; `cure`: what --repair does, or what else helps. */
export const DAMAGE_KINDS = {
  truncated: { cost: 'it cannot be used', cure: 'restore its size, or format it anew' },
  'no-label': {
    cost: 'it cannot be used',
    cure: '--rebuild, where a format block is left; else format it anew: its content is only a cache',
  },
  'label-damaged': { cost: 'the other labels serve', cure: '--repair writes it from a good one' },
  'label-unreadable': {
    cost: 'the other labels serve',
    cure: '--repair writes it, which makes most disks replace the block; look at smartctl',
  },
  'superblock-damaged': { cost: 'nothing, as long as others are whole', cure: '--repair writes it from another label, or clears it' },
  'superblock-lost': { cost: 'nothing, as long as others are whole', cure: '--repair writes a new one into every label' },
  'checkpoint-part-damaged': {
    cost: 'what only it names is forgotten',
    cure: '--repair writes the checkpoint anew; --rebuild finds what is forgotten',
  },
  'checkpoint-contents-damaged': {
    cost: 'a start finds nothing in the checkpoint before its turn has come',
    cure: '--repair writes the checkpoint anew',
  },
  'checkpoint-incomplete': { cost: 'entries may be forgotten', cure: '--repair writes the checkpoint anew' },
  'checkpoint-replaced': { cost: 'the one before it serves; newer entries may be forgotten', cure: '--repair writes the checkpoint anew' },
  'old-checkpoint-damaged': { cost: 'nothing, as long as the newest is whole', cure: '--repair writes both anew' },
  'journal-gap': { cost: 'what the blocks behind it say is forgotten', cure: '--repair closes the journal off' },
  'journal-short': { cost: 'what the last blocks said is forgotten', cure: '--repair closes the journal off' },
  'journal-block-damaged': { cost: 'its records are forgotten, unless a checkpoint has them', cure: '--repair clears it' },
  'journal-torn': { cost: 'nothing that was acknowledged', cure: 'the next start goes on from there' },
  forgotten: { cost: 'the cache is empty, so that nothing purged comes back', cure: '--repair makes it a sound empty cache' },
  'entry-invalid': { cost: 'they are ignored', cure: '--repair drops them' },
  overlap: { cost: 'the older ones are dropped', cure: '--repair drops them for good' },
  'on-bad-blocks': { cost: 'they are dropped', cure: 'the next checkpoint is without them' },
  orphan: { cost: 'nothing; their blocks are free', cure: 'the next checkpoint is without them' },
  'generation-above-floor': { cost: 'a number may have been given twice, were it not noticed', cure: '--repair raises the floor' },
  'write-sequence-above-floor': { cost: 'a number may have been given twice, were it not noticed', cure: '--repair raises the floor' },
  'extent-missing': { cost: 'a miss', cure: '--repair drops the entry' },
  'extent-damaged': { cost: 'a miss', cure: '--repair drops the entry' },
  'extent-foreign': { cost: 'a miss', cure: '--repair drops the entry' },
  'extent-forged': { cost: 'a miss: without the proof of the key nothing is believed', cure: '--repair drops the entry' },
  'extent-misplaced': { cost: 'a miss; a write has gone astray', cure: '--repair drops the entry; look at the disk (smartctl)' },
  'extent-other': { cost: 'a miss', cure: '--repair drops the entry' },
  'extent-unreadable': { cost: 'a miss', cure: '--repair drops the entry and puts the blocks out of use' },
  'extent-shape': { cost: 'a miss', cure: '--repair drops the entry' },
  'chunk-damaged': { cost: 'a miss', cure: '--repair drops the entry' },
  'payload-undecodable': { cost: 'a miss', cure: '--repair drops the entry' },
  'padding-damaged': { cost: 'nothing is served of it, but the disk changed what was written', cure: '--repair drops the entry' },
  'manifest-damaged': { cost: 'the object is a miss', cure: '--repair drops the entry with its slices' },
  'slice-beyond-end': { cost: 'it can never be read', cure: '--repair drops the entry' },
  'slice-length': { cost: 'a miss', cure: '--repair drops the entry' },
  'slice-object': { cost: 'a miss', cure: '--repair drops the entry' },
  'not-closed': { cost: 'nothing; the journal makes up for it', cure: 'the next start replays it' },
} as const satisfies Record<string, { readonly cost: string; readonly cure: string }>;

/** A code of the table. */
export type DamageCode = keyof typeof DAMAGE_KINDS;

/** Something on the device. `finding`: damage; `remark`: worth knowing, and no damage. */
export interface CheckNote {
  readonly kind: 'finding' | 'remark';
  readonly code: DamageCode;
  /** What is wrong, and where. */
  readonly message: string;
  /** Where on the device, if at one place. */
  readonly offsetBytes?: number | undefined;
}

/** How often a code was met, of either kind. */
export interface CheckCount {
  readonly code: DamageCode;
  readonly findings: number;
  readonly remarks: number;
}

/** Collects notes. */
export class CheckLog {
  readonly #notes: CheckNote[] = [];
  readonly #counts = new Map<DamageCode, { findings: number; remarks: number }>();
  readonly #isInUse: boolean;

  /** @param isInUse a server is writing to the device meanwhile: what it may just have changed is a remark */
  constructor(isInUse: boolean) {
    this.#isInUse = isInUse;
  }

  /** What was kept, in the order of its coming. */
  get notes(): readonly CheckNote[] {
    return this.#notes;
  }

  get counts(): readonly CheckCount[] {
    return [...this.#counts].map(([code, count]) => ({ code, ...count }));
  }

  get findings(): number {
    return this.counts.reduce((sum, { findings }) => sum + findings, 0);
  }

  /** Damage that a running server cannot be the reason of. */
  findSure(code: DamageCode, message: string, offsetBytes?: number): void {
    this.#add({ kind: 'finding', code, message, offsetBytes });
  }

  /** Damage, or what a running server changed while it was read. */
  find(code: DamageCode, message: string, offsetBytes?: number): void {
    if (this.#isInUse) this.remark(code, `${message} (or it changed while it was read: the device is in use)`, offsetBytes);
    else this.findSure(code, message, offsetBytes);
  }

  /** No damage. */
  remark(code: DamageCode, message: string, offsetBytes?: number): void {
    this.#add({ kind: 'remark', code, message, offsetBytes });
  }

  #add(note: CheckNote): void {
    const count = this.#counts.get(note.code) ?? { findings: 0, remarks: 0 };
    this.#counts.set(note.code, count);
    if (note.kind === 'finding') count.findings += 1;
    else count.remarks += 1;
    if (count.findings + count.remarks <= NOTES_MAX) this.#notes.push(note);
  }
}
