import { readFile } from 'node:fs/promises';
import { type Document, isMap, parseDocument } from 'yaml';
import { writeWhole } from '../../runtime/io/whole-file.ts';
import { Refusal } from '../../trainer/refusal.ts';
import type { Verdict } from './verdict.ts';

/** A gateway's configuration as it is. @throws Refusal bench/tune where the file is none */
export async function readTunable(path: string): Promise<Document> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    throw new Refusal('bench/tune', `${path} cannot be read (${cause.code}); --tune takes an existing gateway.yaml`, { cause });
  });
  const document = parseDocument(text);
  if (document.errors.length > 0 || !isMap(document.contents) || !document.has('bundle'))
    throw new Refusal('bench/tune', `${path} is not a gateway's configuration; mend it until tremolo run ${path} --check takes it`);
  return document;
}

/** Writes what the verdict chose where the gateway reads it; comments and all else of the file stay as they are. @throws Refusal bench/tune */
export async function writeTuning(path: string, { engine, threads, batch }: Pick<Verdict, 'engine' | 'threads' | 'batch'>): Promise<void> {
  const document = await readTunable(path);
  document.set('engine', engine);
  document.set('threads', threads);
  document.set('largestBatch', batch);
  await writeWhole(path, document.toString());
}
