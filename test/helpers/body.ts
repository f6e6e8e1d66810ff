/**
 * Bodies that nobody has to keep: every byte follows from the object's name, its version and the offset, so that a range of any size can be
 * sent by the origin and checked by the client alone. Each block of 4 KiB has its own xorshift32 seed; two versions of an object, two
 * objects, and two places in one object differ. Used by the scripted origin, the test client and the benchmarks.
 */

const BLOCK_BYTES = 4096;
const WORDS_PER_BLOCK = BLOCK_BYTES / 4;

/** Which body: an object's name (usually its path) and its version, a whole number from 0. */
export interface BodyIdentity {
  readonly name: string;
  readonly version: number;
}

/**
 * Writes the body's bytes from `offset` on into all of `target`.
 *
 * @param offset byte of the object that `target[0]` becomes; 0 <= offset <= 2^53; there is no end
 */
export function fillBody(target: Uint8Array, identity: BodyIdentity, offset: number): void {
  const seed = identitySeed(identity);
  const words = new Uint32Array(WORDS_PER_BLOCK);
  const block = new Uint8Array(words.buffer);
  let done = 0;
  while (done < target.length) {
    const within = (offset + done) % BLOCK_BYTES;
    const count = Math.min(BLOCK_BYTES - within, target.length - done);
    generateBlock(words, seed, Math.floor((offset + done) / BLOCK_BYTES));
    target.set(count === BLOCK_BYTES ? block : block.subarray(within, within + count), done);
    done += count;
  }
}

/**
 * Compares received bytes with the body.
 *
 * @param offset byte of the object that `bytes[0]` should be
 * @returns index into `bytes` of the first wrong byte, or -1 when all are right
 */
export function verifyBody(bytes: Uint8Array, identity: BodyIdentity, offset: number): number {
  const seed = identitySeed(identity);
  const words = new Uint32Array(WORDS_PER_BLOCK);
  const block = Buffer.from(words.buffer);
  let done = 0;
  while (done < bytes.length) {
    const within = (offset + done) % BLOCK_BYTES;
    const count = Math.min(BLOCK_BYTES - within, bytes.length - done);
    generateBlock(words, seed, Math.floor((offset + done) / BLOCK_BYTES));
    if (block.compare(bytes, done, done + count, within, within + count) !== 0) {
      let index = 0;
      while (block[within + index] === bytes[done + index]) index += 1;
      return done + index;
    }
    done += count;
  }
  return -1;
}

/** The byte of the body at `offset`; slow, for the odd check. */
export function bodyByte(identity: BodyIdentity, offset: number): number {
  const one = new Uint8Array(1);
  fillBody(one, identity, offset);
  return one[0]!;
}

/** `lengthBytes` bytes of the body from `offset` on, in a fresh buffer; for small ones. */
export function bodyBytes(identity: BodyIdentity, offset: number, lengthBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  fillBody(bytes, identity, offset);
  return bytes;
}

/** FNV-1a over the name's UTF-16 units, then the version. */
function identitySeed(identity: BodyIdentity): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < identity.name.length; index += 1) hash = Math.imul(hash ^ identity.name.charCodeAt(index), 0x01000193);
  return Math.imul(hash ^ Math.imul(identity.version + 1, 0x9e3779b1), 0x85ebca6b) >>> 0;
}

function generateBlock(words: Uint32Array, seed: number, blockIndex: number): void {
  // Mixed before use: neighbouring blocks must not give related streams. Zero is xorshift's one dead state.
  let state = Math.imul(seed ^ Math.imul((blockIndex % 2 ** 32) + 0x7f4a7c15, 0x9e3779b1), 0xc2b2ae35);
  state ^= state >>> 15;
  if (state === 0) state = 0x6d2b79f5;
  for (let index = 0; index < WORDS_PER_BLOCK; index += 1) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
}
