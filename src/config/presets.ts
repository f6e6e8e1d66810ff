/**
 * Presets: files in config/presets, each a description and a list of rules in the form that a configuration has them. They are read at
 * run time, so that an operator can read them and send better ones. Called by load.ts.
 */
import path from 'node:path';
import { readText } from './config-file.ts';
import type { PresetName } from './options.ts';
import type { ConfigProblem } from './problem.ts';
import { type PlacedRule, readRules } from './site-rules.ts';
import { parseYamlTree } from './yaml-tree.ts';

/** A preset; on problems the rest is there as far as it could be read. */
export interface Preset {
  readonly description: string;
  readonly rules: readonly PlacedRule[];
  readonly problems: readonly ConfigProblem[];
}

/** Where a preset's file is. */
export function presetFile(name: PresetName): string {
  return path.resolve(import.meta.dirname, '../../config/presets', `${name}.yaml`);
}

/** Reads a preset's file; never throws. */
export function readPreset(name: PresetName): Preset {
  const file = presetFile(name);
  const label = path.relative(process.cwd(), file);
  const text = readText(file);
  if (typeof text !== 'string') return { description: '', rules: [], problems: [text] };
  const { root, problems } = parseYamlTree(text, label);
  const found: ConfigProblem[] = [...problems];
  let description = '';
  let rules: readonly PlacedRule[] = [];
  for (const entry of root?.kind === 'map' ? root.entries : []) {
    if (entry.key === 'description' && entry.value.kind === 'text') description = entry.value.text;
    else if (entry.key === 'rules') {
      const read = readRules(entry.value);
      rules = read.rules;
      found.push(...read.problems);
    } else found.push({ source: label, place: entry.keyPlace, key: entry.key, message: 'is not a key of a preset (description, rules)' });
  }
  return { description, rules, problems: found };
}
