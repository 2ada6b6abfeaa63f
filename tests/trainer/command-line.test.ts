import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseCommand } from '../../trainer/commands/command.ts';
import { train } from '../../trainer/commands/train.ts';
import { tremolo } from '../support/tremolo-command.ts';

describe('a verb that fails', () => {
  it('says so in one line on stderr, and with --json in one object on stdout', async () => {
    const { code, stdout, stderr } = await tremolo('data', 'info', join(tmpdir(), 'nowhere'), '--json');
    expect(code).toBe(2);
    const [name, ...message] = stderr.trim().split(': ');
    expect(JSON.parse(stdout)).toEqual({ error: { code: name, message: message.join(': ') } });
    expect(name).toBe('data/set');
  });

  it('writes nothing to stdout without --json', async () => {
    expect(await tremolo('train', 'set')).toMatchObject({ code: 2, stdout: '' });
  });
});

describe('arguments', () => {
  const refusal = (...args: string[]) => {
    try {
      parseCommand(train, args);
    } catch (error) {
      return (error as Error).message;
    }
    return undefined;
  };

  it('take a number below zero as a value, for the verb to judge', () => {
    expect(parseCommand(train, ['set', '--rate', '-5', '--steps=-.5', '--alarms', '-.1']).values).toMatchObject({
      rate: '-5',
      steps: '-.5',
      alarms: '-.1',
    });
  });

  it.each([
    [['--otu', 'x'], 'there is no option --otu; see tremolo train --help'],
    [['-x'], 'there is no option -x; see tremolo train --help'],
    [['--out'], '--out needs a value; see tremolo train --help'],
    [['--out', '--json'], '--out needs a value; see tremolo train --help'],
    [['--json=yes'], '--json takes no value; see tremolo train --help'],
    [['a', 'b', 'c'], 'b c is one argument too many; see tremolo train --help'],
    [['set', '--replace', '-5'], 'there is no option -5; see tremolo train --help'],
  ])('%j are refused', (args, message) => {
    expect(refusal(...args)).toBe(message);
  });
});
