import { setFlagsFromString } from 'node:v8';

/*
 * To be imported first. Young objects of a gateway die within milliseconds: a megabyte is room enough for them, and V8 would take up to 48 MB in each
 * of two threads once streams come by the hundred. A limit can be set only when a process starts; that the room does not grow can be said later, and
 * must be said again when a thread has started, for that sets all flags back.
 */
const keepYoungSpace = () => setFlagsFromString('--semi-space-growth-factor=1');

keepYoungSpace();
process.on('worker', (worker) => worker.once('online', keepYoungSpace));
