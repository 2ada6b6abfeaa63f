// A plain script, as somebody writes it who knows MQTT and onnxruntime.
import { CHANNELS, decideWindows, require, WINDOW } from './windows.mjs';

const ort = require('onnxruntime-node');

const { MODEL, ADAPTER_NUMBERS } = process.env;
const session = await ort.InferenceSession.create(MODEL, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const bank = new ort.Tensor('float32', new Float32Array(Number(ADAPTER_NUMBERS)), [1, Number(ADAPTER_NUMBERS)]);

decideWindows(async (count, windows, scales) => {
  const { probabilities } = await session.run({
    window: new ort.Tensor('int16', windows, [count, WINDOW, CHANNELS]),
    scale: new ort.Tensor('float32', scales, [count, CHANNELS]),
    adapterBank: bank,
    adapterIndex: new ort.Tensor('int32', new Int32Array(count), [count]),
  });
  return probabilities.data;
});
