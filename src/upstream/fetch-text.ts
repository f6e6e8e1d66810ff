/** Fetches a small text (keys, lists) for modules, apart from the requests of clients: bounded in size and time, redirects not followed. Used by app. */
import { request } from 'undici';
import { EdgeError, toEdgeError } from '../base/errors.ts';

/** What a fetch may take. */
export interface FetchLimits {
  readonly bytesMax: number;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** @throws EdgeError UPSTREAM_UNREACHABLE, UPSTREAM_INVALID */
export async function fetchText(url: string, { bytesMax, timeoutMs, signal }: FetchLimits): Promise<string> {
  try {
    const { statusCode, body } = await request(url, {
      signal,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      headers: { accept: 'application/json, text/plain', 'user-agent': 'rawslice' },
    });
    const parts: Uint8Array[] = [];
    let lengthBytes = 0;
    for await (const part of body) {
      if (!(part instanceof Uint8Array)) continue;
      lengthBytes += part.length;
      // Leaving the loop ends the transfer.
      if (lengthBytes > bytesMax || statusCode !== 200) break;
      parts.push(part);
    }
    if (statusCode !== 200) throw new EdgeError('UPSTREAM_INVALID', `${url} answers with ${statusCode}`);
    if (lengthBytes > bytesMax) throw new EdgeError('UPSTREAM_INVALID', `${url} is longer than ${bytesMax} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts));
  } catch (cause) {
    if (cause instanceof EdgeError) throw cause;
    throw new EdgeError('UPSTREAM_UNREACHABLE', `${url} cannot be fetched: ${toEdgeError(cause).message}`, { cause });
  }
}
