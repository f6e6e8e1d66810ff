/** Cookies of a request (RFC 6265 s4.2), and one taken off it, so that neither cache nor origin sees it. */
import type { Exchange } from '../middleware.ts';

/** What may be the name of one. */
export const COOKIE_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}$/;

/** The value of the first cookie of a name. */
export function cookieOf(exchange: Exchange, cookie: string): string | undefined {
  return cookiesOf(exchange).find(([name]) => name === cookie)?.[1];
}

/** Takes all cookies of a name off the request. */
export function removeCookie(exchange: Exchange, cookie: string): void {
  const all = cookiesOf(exchange);
  const others = all.filter(([name]) => name !== cookie);
  if (others.length === all.length) return;
  if (others.length === 0) exchange.removeField('cookie');
  else exchange.setField('cookie', others.map(([name, value]) => `${name}=${value}`).join('; '));
}

function cookiesOf(exchange: Exchange): readonly (readonly [name: string, value: string])[] {
  const lines = exchange.fields.filter(([name]) => name === 'cookie').map(([, value]) => value);
  return lines.flatMap((line) =>
    line.split(';').flatMap((pair): readonly (readonly [string, string])[] => {
      const equals = pair.indexOf('=');
      return equals < 1 ? [] : [[pair.slice(0, equals).trim(), pair.slice(equals + 1).trim()]];
    }),
  );
}
