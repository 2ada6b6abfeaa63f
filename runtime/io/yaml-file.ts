import { readFile } from 'node:fs/promises';
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';
import { check } from '../../models/checks/mistakes.ts';

/**
 * Reads a YAML file and checks it against a schema.
 *
 * @param refusal makes what is thrown of a line that has every mistake with its own line in the file
 */
export async function readYaml<T>(path: string, schema: z.ZodType<T>, refusal: (line: string, cause?: unknown) => Error): Promise<T> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw refusal(`${path} cannot be read (${cause.code}); name a YAML file`, cause);
  });
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const refuse = (mistakes: readonly { line: number; what: string }[]) => {
    const told = mistakes.toSorted((a, b) => a.line - b.line).map(({ line, what }) => `line ${line}, ${what}`);
    return refusal(`${path}: ${told.join('; ')}`);
  };
  if (document.errors.length > 0) {
    // What follows the first mistake of form comes of it.
    const [{ pos, message }] = document.errors;
    throw refuse([{ line: lines.linePos(pos[0]).line, what: `not YAML: ${message}` }]);
  }
  let value: unknown;
  try {
    value = document.toJS() ?? {};
  } catch (cause) {
    throw refusal(`${path}: not YAML: ${(cause as Error).message}`, cause);
  }
  const checked = check(schema, value);
  if ('data' in checked) return checked.data;
  throw refuse(
    checked.mistakes.map(({ at, message }) => ({
      line: lines.linePos(positionOf(document, at)).line,
      what: `${at.join('.') || 'top level'}: ${message}`,
    })),
  );
}

/** Where a key begins, or the nearest thing around it that is there: what is missing has no line of its own. */
function positionOf(document: Document.Parsed, at: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let position = 0;
  for (const key of at) {
    let begin: unknown;
    if (isMap(node)) {
      const pair = node.items.find(({ key: other }) => String(isScalar(other) ? other.value : other) === String(key));
      begin = pair?.key;
      node = pair?.value;
    } else if (isSeq(node)) {
      begin = node.items[Number(key)];
      node = begin;
    }
    if (!isNode(begin) || !begin.range) break;
    position = begin.range[0];
  }
  return position;
}
