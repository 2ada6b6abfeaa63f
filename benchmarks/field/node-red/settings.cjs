// Node-RED's settings: modules are handed to function nodes as global context, as its documentation says.
const { createRequire } = require('node:module');

module.exports = {
  flowFile: 'flows.json',
  httpAdminRoot: false,
  httpNodeRoot: false,
  credentialSecret: false,
  logging: { console: { level: 'warn', metrics: false, audit: false } },
  functionGlobalContext: { ort: createRequire(process.env.FIELD_REQUIRE)('onnxruntime-node') },
};
