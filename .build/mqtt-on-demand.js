// For the device: what mqtt.js needs for WebSockets and proxies is loaded when it is used, and what it needs in browsers never. A gateway on mqtt://
// starts without it.
import { readFileSync } from 'node:fs';

/** As esbuild would have it, but at the first use. */
const onDemand = (name, load) => `let ${name}_loaded; const ${name} = { get default() { return (${name}_loaded ??= ${load}).default; } };`;

const PARTS = [
  {
    file: /mqtt[\\/]build[\\/]lib[\\/]connect[\\/]ws\.js$/,
    line: 'const ws_1 = __importDefault(require("ws"));',
    instead: onDemand('ws_1', '__importDefault(require("ws"))'),
  },
  {
    file: /mqtt[\\/]build[\\/]lib[\\/]connect[\\/](tcp|tls)\.js$/,
    line: 'const socks_1 = __importDefault(require("./socks"));',
    instead: onDemand('socks_1', '__importDefault(require("./socks"))'),
  },
  // Timers of browsers' pages in the background.
  {
    file: /mqtt[\\/]build[\\/]lib[\\/]get-timer\.js$/,
    line: 'const worker_timers_1 = require("worker-timers");',
    instead: 'const worker_timers_1 = {};',
  },
];

export const mqttOnDemand = {
  name: 'mqtt-on-demand',
  setup(build) {
    for (const { file, line, instead } of PARTS) {
      build.onLoad({ filter: file }, ({ path }) => {
        const text = readFileSync(path, 'utf8');
        if (!text.includes(line)) throw new Error(`${path} loads its parts in another way than this build knows`);
        return { contents: text.replace(line, instead), loader: 'js' };
      });
    }
    // Its classes are Node's own, for other platforms.
    build.onResolve({ filter: /^readable-stream$/ }, () => ({ path: 'node:stream', external: true }));
  },
};
