/** Bits that journal records and checkpoint entries carry besides numbers, and the index keeps for each entry. */

/**
 * Flags of a stored record. `visited`: read since the evictor last passed. `unproved`: from before an unclean end and not read since.
 * `lz4`: its payload is compressed. `partial`: a slice of which only a part is held. `body`: a manifest whose extent holds the object's
 * one slice as well. Journal records carry the last three only.
 */
export const ENTRY_FLAGS = { visited: 1, unproved: 2, lz4: 4, partial: 8, body: 16 } as const;

/** What a purge covers, by what its hash is of. `everything`: the hash is zero. */
export const PURGE_KINDS = { object: 0, prefix: 1, tag: 2, everything: 3 } as const;

/** Added to the kind of a purge that makes stale instead of forgetting. */
export const PURGE_SOFT = 128;
