import { describe, expect, it } from 'vitest';
import { parseJsonPath, selectByPath } from '../../../runtime/sources/json-path.ts';

const document = {
  data: {
    values: [
      [1, 2],
      [3, 4],
    ],
    'two words': 5,
  },
  empty: [],
  rows: [{ x: 1 }, {}, { x: 3 }],
};

describe('a path', () => {
  it.each([
    ['$', [document]],
    ['$.data.values', [document.data.values]],
    [
      '$.data.values[*]',
      [
        [1, 2],
        [3, 4],
      ],
    ],
    ['$.data.values[*][1]', [2, 4]],
    ['$.data.values[*][*]', [1, 2, 3, 4]],
    ["$.data['two words']", [5]],
    ['$["data"]["two words"]', [5]],
    ['$.rows[*].x', [1, undefined, 3]],
    ['$.rows[2].x', [3]],
    ['$.empty[*]', []],
    ['$.nothing[*].x', [undefined]],
    ['$.data[0]', [undefined]],
    ['$.empty.length', [undefined]],
    ['$.constructor', [undefined]],
    ['$.data.__proto__', [undefined]],
  ])('%s picks its values', (path, expected) => {
    expect(selectByPath(document, parseJsonPath(path))).toEqual(expected);
  });

  it.each(['', 'data', '.data', '$data', '$.', '$..x', '$[-1]', '$[1:2]', '$[?(@.x)]', '$.x[', '$.*', '$.x y'])(
    '"%s" is refused',
    (path) => {
      expect(() => parseJsonPath(path)).toThrow(SyntaxError);
    },
  );
});
