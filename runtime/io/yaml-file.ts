import { readFile } from 'node:fs/promises';
import { type Document, LineCounter, parseDocument } from 'yaml';
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
    const line = lineOf(document, lines, at);
    return `${line ? `line ${line}, ` : ''}${at.join('.') || 'top level'}: ${message}`;
  });
  throw new YamlMistakes(`${path}: ${mistakes.join('; ')}`);
}

/** Line of a value, or of the nearest thing around it that is there: what is missing has no line of its own. */
function lineOf(document: Document.Parsed, lines: LineCounter, at: readonly PropertyKey[]): number | undefined {
  for (let depth = at.length; depth > 0; depth--) {
    const node = document.getIn(at.slice(0, depth), true) as { range?: [number] } | undefined;
    if (node?.range) return lines.linePos(node.range[0]).line;
  }
  return undefined;
}
