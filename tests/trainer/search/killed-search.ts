import { search } from '../../../trainer/search/search.ts';
import { integer, uniform } from '../../../trainer/search/space.ts';
import { branin } from './functions.ts';

// The program of a test that kills it: node killed-search.mjs FILE MILLISECONDS.
const [, , file, milliseconds] = process.argv;
const { best, trials } = await search(
  { x: uniform(-5, 10), y: uniform(0, 15), width: integer(1, 8) },
  async ({ x, y, width }, resource) => {
    await new Promise((resolve) => setTimeout(resolve, Number(milliseconds)));
    return -branin(x, y) - width - 10 / resource;
  },
  { trials: 20, seed: 11, file, resource: { minResource: 1, maxResource: 16 } },
);
process.stdout.write(JSON.stringify({ best, trials }));
