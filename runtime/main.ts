import './io/small-heap.ts';

// Entry of the packed device. Loaded only now: a megabyte of modules would make the heap grow before it is told not to.
const { main } = await import('./program.ts');
await main();
