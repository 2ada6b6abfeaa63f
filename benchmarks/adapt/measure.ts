import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { AdaptationReport } from './program.ts';

/** One adaptation of the default length in a process of its own, through the bundle's adapt.onnx. @param bundle folder with its adapt part */
export async function measureAdaptation(bundle: string, programs: URL, signal?: AbortSignal): Promise<AdaptationReport> {
  const program = fileURLToPath(new URL('adapt-once.js', programs));
  const { stdout } = await promisify(execFile)(process.execPath, [program, bundle], { signal });
  return JSON.parse(stdout) as AdaptationReport;
}
