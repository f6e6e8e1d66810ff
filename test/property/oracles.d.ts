/** The parts of two packages without types that the property tests use as oracles. */

declare module 'range-parser' {
  /** -1 is unsatisfiable, -2 malformed; ends are inclusive. */
  function parseRange(sizeBytes: number, text: string): -1 | -2 | { start: number; end: number }[];
  export = parseRange;
}

declare module 'http-cache-semantics' {
  type Head = { readonly headers: Readonly<Record<string, string>> };
  class CachePolicy {
    constructor(request: Head & { readonly method: string }, response: Head & { readonly status: number });
    now(): number;
    storable(): boolean;
    /** Lifetime in seconds. */
    maxAge(): number;
    /** In seconds. */
    age(): number;
    /** `revalidation` is undefined where the response serves the request as it is; `synchronous` false: it does meanwhile (RFC 5861 s3). */
    evaluateRequest(request: Head): { readonly revalidation: { readonly synchronous: boolean } | undefined };
    revalidatedPolicy(
      request: Head,
      response: Head & { readonly status: number },
    ): { readonly policy: CachePolicy; readonly modified: boolean };
    responseHeaders(): Readonly<Record<string, string>>;
  }
  export = CachePolicy;
}
