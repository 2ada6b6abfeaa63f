// The same script on tfjs's WebAssembly backend. tfjs reads no ONNX file: Tremolo's own engine takes each node back to the tfjs op that it came from.
import { readFile } from 'node:fs/promises';
import { CHANNELS, decideWindows, WINDOW } from '../script/windows.mjs';

const { createWasmEngine } = await import(process.env.FIELD_ENGINE);

const { MODEL, ADAPTER_NUMBERS } = process.env;
const engine = await createWasmEngine(process.env.FIELD_WASM);
const weights = await readFile(MODEL.replace(/[^/]*$/, 'weights.bin'));
const session = await engine.load({ graph: await readFile(MODEL), files: new Map([['weights.bin', weights]]) });
const bank = { type: 'float32', shape: [1, Number(ADAPTER_NUMBERS)], values: new Float32Array(Number(ADAPTER_NUMBERS)) };

decideWindows(async (count, windows, scales) => {
  const feeds = {
    window: { type: 'int16', shape: [count, WINDOW, CHANNELS], values: windows },
    scale: { type: 'float32', shape: [count, CHANNELS], values: scales },
    adapterBank: bank,
    adapterIndex: { type: 'int32', shape: [count], values: new Int32Array(count) },
  };
  const { probabilities } = await globalThis.fieldTimed(count, () => session.run(feeds));
  return probabilities.values;
});
