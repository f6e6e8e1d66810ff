/**
 * Hashes of passwords that node:crypto can check: argon2id and scrypt in the PHC form (`$argon2id$v=19$m=65536,t=3,p=4$salt$hash`, `$scrypt$ln=15,r=8,p=1$...`),
 * off the event loop, and sha512-crypt and sha256-crypt (`openssl passwd -6`), in steps that let others go on. bcrypt needs a library; apr1, {SHA} and plain
 * texts protect nobody today.
 */
import { argon2, createHash, scrypt, timingSafeEqual } from 'node:crypto';
import { promisify } from 'node:util';

/** A hash that was understood. */
export interface PasswordHash {
  /** Takes from milliseconds to a second. */
  verify(password: string): Promise<boolean>;
}

const MEMORY_BYTES_MAX = 256 * 1024 * 1024;
const ROUNDS_MAX = 100_000;
const ROUNDS_DEFAULT = 5000;
/** Rounds between which others have their turn: about a millisecond. */
const ROUNDS_STEP = 500;
const CRYPT_DIGITS = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

const startArgon2 = promisify(argon2);
const startScrypt = promisify<Buffer, Buffer, number, object, Buffer>(scrypt);

/** @throws Error that says what is wrong with it, without the hash */
export function parsePasswordHash(text: string): PasswordHash {
  if (text.startsWith('$argon2id$')) return parseArgon2(text);
  if (text.startsWith('$scrypt$')) return parseScrypt(text);
  if (/^\$[56]\$/.test(text)) return parseCrypt(text);
  const kind = /^\$2[abxy]?\$/.test(text)
    ? 'bcrypt'
    : text.startsWith('$apr1$')
      ? 'apr1'
      : text.startsWith('{SHA}')
        ? '{SHA}'
        : 'this form';
  throw new Error(`${kind} is not supported; make the hash with \`openssl passwd -6\`, or as argon2id or scrypt`);
}

function parseArgon2(text: string): PasswordHash {
  const match = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,3}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,171})$/.exec(text);
  if (match === null) throw new Error('the argon2id hash is not written as $argon2id$v=19$m=...,t=...,p=...$salt$hash');
  const [, memory = '', passes = '', parallelism = '', salt = '', hash = ''] = match;
  if (Number(memory) * 1024 > MEMORY_BYTES_MAX) throw new Error('the argon2id hash wants more than 256 MiB of memory');
  const expected = Buffer.from(hash, 'base64');
  const shape = {
    nonce: Buffer.from(salt, 'base64'),
    memory: Number(memory),
    passes: Number(passes),
    parallelism: Number(parallelism),
    tagLength: expected.length,
  };
  return {
    verify: async (password) => timingSafeEqual(await startArgon2('argon2id', { ...shape, message: Buffer.from(password) }), expected),
  };
}

function parseScrypt(text: string): PasswordHash {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/.]{11,86})\$([A-Za-z0-9+/.]{22,171})$/.exec(text);
  if (match === null) throw new Error('the scrypt hash is not written as $scrypt$ln=...,r=...,p=...$salt$hash');
  const [, logarithm = '', blockSize = '', parallelization = '', salt = '', hash = ''] = match;
  const cost = 2 ** Number(logarithm);
  if (128 * cost * Number(blockSize) > MEMORY_BYTES_MAX) throw new Error('the scrypt hash wants more than 256 MiB of memory');
  const expected = fromBase64(hash);
  const shape = { cost, blockSize: Number(blockSize), parallelization: Number(parallelization), maxmem: 2 * MEMORY_BYTES_MAX };
  return {
    verify: async (password) =>
      timingSafeEqual(await startScrypt(Buffer.from(password), fromBase64(salt), expected.length, shape), expected),
  };
}

/** With `.` for `+`, as passlib writes it, or without. */
function fromBase64(text: string): Buffer {
  return Buffer.from(text.replaceAll('.', '+'), 'base64');
}

function parseCrypt(text: string): PasswordHash {
  const match = /^\$([56])\$(?:rounds=(\d{1,9})\$)?([^$]{1,16})\$([./0-9A-Za-z]+)$/.exec(text);
  const [, kind = '', roundsText, salt = '', hash = ''] = match ?? [];
  const rounds = roundsText === undefined ? ROUNDS_DEFAULT : Math.max(1000, Number(roundsText));
  if (match === null || hash.length !== (kind === '6' ? 86 : 43)) throw new Error('the hash is not one of sha512-crypt or sha256-crypt');
  if (rounds > ROUNDS_MAX) throw new Error(`the hash has more than ${ROUNDS_MAX} rounds`);
  const shape = { algorithm: kind === '6' ? 'sha512' : 'sha256', rounds, salt: Buffer.from(salt) } as const;
  return {
    verify: async (password) =>
      timingSafeEqual(Buffer.from(encodeCrypt(await cryptDigest(Buffer.from(password), shape))), Buffer.from(hash)),
  };
}

/** "Unix crypt using SHA-256 and SHA-512", U. Drepper, version 0.6; the numbers are its steps. */
async function cryptDigest(
  password: Buffer,
  { algorithm, rounds, salt }: { readonly algorithm: 'sha256' | 'sha512'; readonly rounds: number; readonly salt: Buffer },
): Promise<Buffer> {
  const digest = (...parts: readonly Uint8Array[]): Buffer =>
    parts.reduce((hash, part) => hash.update(part), createHash(algorithm)).digest();
  const times = (bytes: Buffer, count: number): Buffer[] => Array<Buffer>(count).fill(bytes);
  // 4 to 12
  const alternate = digest(password, salt, password);
  const first = [password, salt, stretch(alternate, password.length)];
  for (let bits = password.length; bits > 0; bits = Math.floor(bits / 2)) first.push(bits % 2 === 1 ? alternate : password);
  let result = digest(...first);
  // 13 to 20
  const passwords = stretch(digest(...times(password, password.length)), password.length);
  const salts = stretch(digest(...times(salt, 16 + (result[0] ?? 0))), salt.length);
  // 21
  for (let round = 0; round < rounds; round += 1) {
    const parts = [round % 2 === 1 ? passwords : result];
    if (round % 3 !== 0) parts.push(salts);
    if (round % 7 !== 0) parts.push(passwords);
    parts.push(round % 2 === 1 ? result : passwords);
    result = digest(...parts);
    if (round % ROUNDS_STEP === ROUNDS_STEP - 1) await new Promise((resolve) => setImmediate(resolve));
  }
  return result;
}

function stretch(bytes: Buffer, length: number): Buffer {
  return Buffer.concat(Array<Buffer>(Math.ceil(length / bytes.length)).fill(bytes)).subarray(0, length);
}

/** 22: bytes in an order of its own, three to four digits. */
function encodeCrypt(digest: Buffer): string {
  const third = Math.floor(digest.length / 3);
  let text = '';
  for (let group = 0; group < third; group += 1) {
    const [a, b, c] = [group, group + third, group + 2 * third];
    // The three change their places from group to group.
    const turned =
      digest.length === 64
        ? [
            [a, b, c],
            [b, c, a],
            [c, a, b],
          ][group % 3]
        : [
            [a, b, c],
            [c, a, b],
            [b, c, a],
          ][group % 3];
    const [high = 0, middle = 0, low = 0] = turned ?? [];
    text += digits(digest[high] ?? 0, digest[middle] ?? 0, digest[low] ?? 0);
  }
  return (
    text + (digest.length === 64 ? digits(0, 0, digest[63] ?? 0).slice(0, 2) : digits(0, digest[31] ?? 0, digest[30] ?? 0).slice(0, 3))
  );
}

function digits(high: number, middle: number, low: number): string {
  let word = high * 65_536 + middle * 256 + low;
  let text = '';
  for (let digit = 0; digit < 4; digit += 1) {
    text += CRYPT_DIGITS[word % 64];
    word = Math.floor(word / 64);
  }
  return text;
}
