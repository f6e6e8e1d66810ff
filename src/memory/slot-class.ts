/**
 * Slots are granted in classes, each with a floor that the others cannot take, so that no part of the program can starve another:
 * a flood of fills leaves room to read the device, and the RAM tier never stops a fill.
 */

/** What a slot is used for. `resident` is the RAM tier: the only class that can be reclaimed. */
export const SLOT_CLASSES = ['device-read', 'fill', 'staging', 'resident'] as const;
/** One of SLOT_CLASSES. */
export type SlotClass = (typeof SLOT_CLASSES)[number];

/** Share of the arena kept for each class; the sum stays below 1. `staging` is header blocks and the encoder's output. */
export const SLOT_CLASS_FLOORS: Readonly<Record<SlotClass, number>> = { 'device-read': 0.125, fill: 0.125, staging: 0.0625, resident: 0 };
