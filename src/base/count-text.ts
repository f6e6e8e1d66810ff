/** Numbers with their nouns, as people read them. Used by the tools and by what the store tells of a device. */

/** `1 object`, `2 objects`; `plural` where an s is not enough. */
export function countText(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}
