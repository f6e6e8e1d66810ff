/**
 * Who may purge through the port of the clients: those whose address purge.allow names, those who know purge.token, or, where both are set,
 * who has both. Nobody while neither is set. Pure but for the list of addresses, which node keeps.
 */
import { BlockList, isIPv6 } from 'node:net';
import { isSameSecret } from '../base/same-secret.ts';

/** A network as it was configured. */
export interface AllowedNetwork {
  readonly address: string;
  readonly prefixBits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** Why somebody may not purge. */
export type PurgeRefusal = 'off' | 'address' | 'token';

/** What purge.allow and purge.token say. */
export interface PurgeGateOptions {
  readonly allow: readonly AllowedNetwork[] | undefined;
  readonly token: string | undefined;
}

/** One per listener. */
export class PurgeGate {
  readonly #allowed: BlockList | undefined;
  readonly #token: string | undefined;

  constructor({ allow, token }: PurgeGateOptions) {
    this.#token = token;
    if (allow === undefined) return;
    this.#allowed = new BlockList();
    for (const { address, prefixBits, family } of allow) this.#allowed.addSubnet(address, prefixBits, family);
  }

  /**
   * @param address       of the connection, undefined on a Unix socket
   * @param authorization the request's field
   * @returns undefined when it is allowed
   */
  refuse(address: string | undefined, authorization: string | undefined): PurgeRefusal | undefined {
    if (this.#allowed === undefined && this.#token === undefined) return 'off';
    if (this.#allowed !== undefined && !this.#isAllowed(this.#allowed, address)) return 'address';
    if (this.#token !== undefined && !isSameSecret(authorization ?? '', `Bearer ${this.#token}`)) return 'token';
    return undefined;
  }

  /** IPv4 in IPv6 notation, as a listener for both gives it, is looked up as what it is by node itself. */
  #isAllowed(allowed: BlockList, address: string | undefined): boolean {
    if (address === undefined) return false;
    return allowed.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
  }
}
