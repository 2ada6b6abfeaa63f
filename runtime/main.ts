import './io/small-heap.ts';
import { readFileSync } from 'node:fs';
import { startEarly } from './io/early-thread.ts';

// Entry of the packed device. Its text is loaded only now: a megabyte of modules would make the heap grow before it is told not to, and keep the inference
// thread from loading its own beside it.
if (!asksForWasm(process.argv[2])) startEarly(new URL('./', import.meta.url));
const { main } = await import('./program.ts');
await main();

/** Whether a configuration names the engine that is not onnxruntime: it may do so because the library's mere presence ends the process here. */
function asksForWasm(path: string | undefined): boolean {
  try {
    return /^engine: *['"]?wasm/m.test(readFileSync(path ?? '', 'utf8'));
  } catch {
    // Who reads it in earnest says what is wrong with it.
    return false;
  }
}
