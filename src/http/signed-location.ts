/**
 * Whether a Location carries a right of its own to what it names: a signature, a token, a moment until which it is good. Such a redirect was
 * made for one request; kept, it would lead others to a 403, or let them in. Pure; response-policy.ts asks.
 */
import { LOCATION_LENGTH_MAX } from './redirect-target.ts';

/** Names of query parameters, lower-case, as storage services and CDNs sign with. */
const SIGNING_NAMES: ReadonlySet<string> = new Set([
  // Amazon S3 and CloudFront, and those who speak like them.
  ...['x-amz-signature', 'x-amz-security-token', 'x-amz-expires', 'awsaccesskeyid', 'key-pair-id', 'signature', 'expires'],
  // Google, Azure, Alibaba, Tencent.
  ...['x-goog-signature', 'x-goog-expires', 'googleaccessid', 'sig', 'x-oss-signature', 'ossaccesskeyid', 'q-signature'],
  // Akamai, and whatever hands out tokens.
  ...['hdnts', 'hdnea', 'token', 'access_token', 'jwt'],
]);

/** Whether `location`, a URI reference in any form, has a query or fragment parameter that signs. One that is too long to be read has. */
export function isSignedLocation(location: string): boolean {
  if (location.length > LOCATION_LENGTH_MAX) return true;
  return location
    .split(/[?#]/)
    .slice(1)
    .some((parameters) => [...new URLSearchParams(parameters).keys()].some((name) => SIGNING_NAMES.has(name.toLowerCase())));
}
