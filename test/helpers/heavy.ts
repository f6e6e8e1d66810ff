/** Which tests are run: those that take long only where time is no matter. */

/** Whether the long variants run: `CI=true`, or `RAWSLICE_HEAVY=1` by hand. */
export const isHeavy = process.env.CI === 'true' || process.env.RAWSLICE_HEAVY === '1';
/** For `skip` of a long variant: false, or what to do. */
export const lightSkip: string | false = isHeavy ? false : 'long; set RAWSLICE_HEAVY=1 or CI=true';

/** For `skip` of a test that runs on every kind of place: only on the first, where time matters. */
export function heavyUnlessFirst(place: { readonly isFirst: boolean }): string | false {
  return place.isFirst ? false : lightSkip;
}
