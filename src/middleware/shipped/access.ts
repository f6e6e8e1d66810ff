/** `access`: who may ask at all, by address. Purges through the port of the clients are asked about too. */
import { BlockList, isIPv6 } from 'node:net';
import type { NetworkValue } from '../../base/module-options.ts';
import type { Client, EarlyAnswer, Middleware, MiddlewareModule } from '../middleware.ts';

const OPTIONS = {
  allow: { kind: 'networks', meaning: 'Networks or addresses that may ask; left out: all' },
  deny: { kind: 'networks', meaning: 'Those that may not, even if `allow` has them' },
} as const;

/** The module. */
export const ACCESS: MiddlewareModule<typeof OPTIONS> = {
  interfaceVersion: 1,
  options: OPTIONS,
  check: ({ allow, deny }) => (allow === undefined && deny === undefined ? [{ message: 'let everybody in; give allow or deny' }] : []),
  create: ({ allow, deny }) => new Access(allow, deny),
};

const REFUSED: EarlyAnswer = {
  status: 403,
  fields: [['content-type', 'text/plain; charset=utf-8']],
  text: 'Your address may not ask for this\n',
};

class Access implements Middleware {
  readonly #allowed: BlockList | undefined;
  readonly #denied: BlockList | undefined;

  constructor(allow: readonly NetworkValue[] | undefined, deny: readonly NetworkValue[] | undefined) {
    this.#allowed = listOf(allow);
    this.#denied = listOf(deny);
  }

  onRequest(client: Client): EarlyAnswer | undefined {
    return this.#mayAsk(client.clientAddress) ? undefined : REFUSED;
  }

  onPurge(client: Client): EarlyAnswer | undefined {
    return this.onRequest(client);
  }

  /** Who has no address is in no network. */
  #mayAsk(address: string | undefined): boolean {
    if (address === undefined) return this.#allowed === undefined;
    const family = isIPv6(address) ? 'ipv6' : 'ipv4';
    if (this.#denied?.check(address, family) === true) return false;
    return this.#allowed?.check(address, family) ?? true;
  }
}

/** IPv4 in IPv6 notation, as a listener for both gives it, is looked up as what it is by node itself. */
function listOf(networks: readonly NetworkValue[] | undefined): BlockList | undefined {
  if (networks === undefined) return undefined;
  const list = new BlockList();
  for (const { address, prefixBits, family } of networks) list.addSubnet(address, prefixBits, family);
  return list;
}
