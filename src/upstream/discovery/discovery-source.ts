/** What finds the nodes of a group: one question after another, each with its answer. discovery.ts asks, and keeps what was found last. */

/** A server that was found. */
export interface DiscoveredNode {
  /** IP address without brackets, or a host name. */
  readonly host: string;
  readonly port: number;
  /** What it goes by in Host and TLS; undefined: `host`. */
  readonly name: string | undefined;
  /** Whole, at least 1. */
  readonly weight: number;
  /** Asked only when no other node is well. */
  readonly isBackup: boolean;
}

/** Why there is no answer: `refused` by whoever was asked, `invalid` when it cannot be understood. */
export type DiscoveryFault = 'timeout' | 'unreachable' | 'refused' | 'invalid';

/** What a question led to. */
export type DiscoveryVerdict =
  | {
      readonly kind: 'nodes';
      /** All of them; may be none. */
      readonly nodes: readonly DiscoveredNode[];
      /** What of the answer is no node, each in a few words. */
      readonly unusable: readonly string[];
      /** When to ask again. */
      readonly againInMs: number;
    }
  | DiscoveryFailure;

/** No answer. */
export interface DiscoveryFailure {
  readonly kind: 'failed';
  readonly fault: DiscoveryFault;
  /** For people: what happened, and where it helps what to do. */
  readonly message: string;
  /** Of an answer over HTTP. */
  readonly status?: number;
}

/** Somebody to ask. One question at a time. */
export interface DiscoverySource {
  /** For people, such as `dns web.internal`. */
  readonly about: string;
  /** Asks, for as long as it takes; ends soon when `signal` aborts, with whatever. Never rejects. */
  ask(signal: AbortSignal): Promise<DiscoveryVerdict>;
  /** Lets go of connections; nothing is asked any more. */
  close(): Promise<void>;
}

/** There is no answer, because of this. */
export function failed(fault: DiscoveryFault, message: string): DiscoveryFailure {
  return { kind: 'failed', fault, message };
}
