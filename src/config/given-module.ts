/** What names a module in a file: a middleware, or a balancer of a group. Read here, understood by middleware-plan.ts. */
import type { SourcePlace } from './problem.ts';
import type { Placed, RecordReader } from './record-reader.ts';
import type { YamlNode } from './yaml-tree.ts';

/** A module with its options as they are written. */
export interface GivenModule {
  readonly use: Placed<string>;
  /** Dotted key of what names it. */
  readonly useKey: string;
  /** Undefined where there are none. */
  readonly options: Extract<YamlNode, { kind: 'map' }> | undefined;
  /** Dotted key of the options. */
  readonly optionsKey: string;
  /** Of the record. */
  readonly place: SourcePlace;
}

/** Reads a map of options as it is written. */
export function readOptionMap(reader: RecordReader, name: string): GivenModule['options'] {
  const node = reader.node(name);
  if (node === undefined || node.kind === 'none' || node.kind === 'map') return node?.kind === 'map' ? node : undefined;
  reader.report(name, 'must be a map of options');
  return undefined;
}
