import { readFile } from 'node:fs/promises';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';

/** A settings file that cannot be used, with everything that is wrong in it. */
export class YamlMistakes extends Error {}

/** Reads a YAML file and checks it against a schema. @throws YamlMistakes with every mistake and its line, in one line */
export async function readYaml<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new YamlMistakes(`${path} cannot be read (${cause.code})`, { cause });
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0)
    throw new YamlMistakes(`${path}: ${document.errors.map(({ message }) => message.split('\n')[0]).join('; ')}`);
  const parsed = schema.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data;
  const mistakes = parsed.error.issues.map(({ path: at, message }) => {
    const node = document.getIn(at as string[], true) as { range?: [number] } | undefined;
    const line = node?.range ? `line ${lines.linePos(node.range[0]).line}, ` : '';
    return `${line}${at.join('.') || 'top level'}: ${message}`;
  });
  throw new YamlMistakes(`${path}: ${mistakes.join('; ')}`);
}
