/**
 * The options of a module (a middleware, a balancer) as its table declares them: config reads texts by it and says what is wrong where, the module gets
 * values. Types only; a module from outside needs nothing but them.
 */

/** A network; with all bits in the prefix one address. */
export interface NetworkValue {
  readonly address: string;
  readonly prefixBits: number;
  readonly family: 'ipv4' | 'ipv6';
}

/** What a kind of option is read as. */
export interface OptionValuesByKind {
  readonly text: string;
  /** Shown nowhere. */
  readonly secret: string;
  readonly count: number;
  readonly boolean: boolean;
  /** Milliseconds. */
  readonly duration: number;
  /** Bytes. */
  readonly size: number;
  /** Bytes a second. */
  readonly rate: number;
  readonly choice: string;
  /** A regular expression. */
  readonly pattern: RegExp;
  /** Absolute; a relative path begins at the folder of the configuration. */
  readonly file: string;
  /** The name of an upstream group that there is. */
  readonly upstream: string;
  readonly texts: readonly string[];
  readonly networks: readonly NetworkValue[];
  /** Header fields: lower-case names, each with a value. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** Names of header fields, lower-case. */
  readonly names: readonly string[];
  /** Upstream groups, each with a weight from 0 to 1000. */
  readonly weights: readonly (readonly [group: string, weight: number])[];
}

/** What an option may be. */
export type ModuleOptionKind = keyof OptionValuesByKind;

/** One option. */
export interface ModuleOption {
  readonly kind: ModuleOptionKind;
  /** For people, in the documentation. */
  readonly meaning: string;
  /** As it would be written; without it an option that is left out is undefined. */
  readonly default?: string | undefined;
  readonly isRequired?: boolean | undefined;
  /** Of a count, duration, size or rate, as they would be written. */
  readonly min?: string | undefined;
  readonly max?: string | undefined;
  /** Of a choice. */
  readonly choices?: readonly string[] | undefined;
}

/** The options of a module by their names. */
export type OptionTable = Readonly<Record<string, ModuleOption>>;

type ValueOf<Row extends ModuleOption> = Row extends { readonly choices: readonly (infer Word extends string)[] }
  ? Word
  : OptionValuesByKind[Row['kind']];

/** What a module gets for its table: every option that is required or has a default is there. */
export type OptionValues<Table extends OptionTable> = {
  readonly [Name in keyof Table]: Table[Name] extends { readonly default: string } | { readonly isRequired: true }
    ? ValueOf<Table[Name]>
    : ValueOf<Table[Name]> | undefined;
};

/** Of a table that nobody knows here. */
export type AnyOptions = OptionValues<OptionTable>;

/** What is wrong with options that are right each for itself. */
export interface OptionFault {
  /** The option to point at; undefined: all of them. */
  readonly option?: string | undefined;
  /** A clause that follows the option's name. */
  readonly message: string;
}
