import './io/small-heap.ts';
import { startEarly } from './io/early-thread.ts';

// Entry of the packed device. Its text is loaded only now: a megabyte of modules would make the heap grow before it is told not to, and keep the inference
// thread from loading its own beside it.
startEarly(new URL('./', import.meta.url));
const { main } = await import('./program.ts');
await main();
