import { GATEWAY_ENVIRONMENT } from '../../runtime/gateway-environment.ts';

/** Where install.sh puts the folder. */
const PREFIX = '/opt/tremolo';

/** Entry in front of a program: the Node that was packed, or the one that the machine has. */
const nodeOf = (hasNode: boolean) => (hasNode ? `${PREFIX}/node/bin/node` : '/usr/bin/env node');

/**
 * systemd unit. It gives the service a user of its own without rights, serial ports and nothing else of /dev, and a folder for state that no other
 * service sees. MemoryDenyWriteExecute= must be off: V8 compiles at run time.
 */
export function serviceUnit(hasNode: boolean): string {
  return `[Unit]
Description=Tremolo gateway
Documentation=file:${PREFIX}/gateway.yaml
Wants=network-online.target time-sync.target
After=network-online.target time-sync.target

[Service]
Type=notify
NotifyAccess=all
${Object.entries(GATEWAY_ENVIRONMENT)
  .map(([name, value]) => `Environment=${name}=${value}`)
  .join('\n')}
ExecStart=${nodeOf(hasNode)} ${PREFIX}/app/gateway.js ${PREFIX}/gateway.yaml
WatchdogSec=60
Restart=always
RestartSec=2
DynamicUser=true
StateDirectory=tremolo
SupplementaryGroups=dialout
DevicePolicy=closed
DeviceAllow=char-ttyUSB rw
DeviceAllow=char-ttyACM rw
DeviceAllow=char-ttyS rw
DeviceAllow=char-ttyAMA rw
ProtectSystem=strict
ProtectHome=true
ProtectClock=true
ProtectControlGroups=true
ProtectHostname=true
ProtectKernelLogs=true
ProtectKernelModules=true
ProtectKernelTunables=true
ProtectProc=invisible
PrivateTmp=true
NoNewPrivileges=true
LockPersonality=true
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=true
RestrictRealtime=true
RestrictSUIDSGID=true
SystemCallArchitectures=native
CapabilityBoundingSet=
MemoryDenyWriteExecute=false

[Install]
WantedBy=multi-user.target
`;
}

/** Installs the folder that it lies in, or a newer one over it; the gateway.yaml of a gateway that is there stays. */
export function installScript(hasNode: boolean): string {
  const needsNode = `node -e 'const [major, minor] = process.versions.node.split(".").map(Number); process.exit(major > 20 || (major === 20 && minor >= 19) ? 0 : 1)' 2> /dev/null || {
  echo 'install: Node 20.19 or later is not there; install it, or pack with --with-node' >&2
  exit 1
}
`;
  return `#!/bin/sh
# Installs this gateway as the systemd service "tremolo". Run as root, from any folder.
set -eu
[ "$(id -u)" = 0 ] || { echo 'install: run as root' >&2; exit 1; }
${hasNode ? '' : needsNode}here="$(cd "$(dirname "$0")" && pwd)"
new='${PREFIX}.new'
rm -rf "$new"
cp -R "$here" "$new"
# A gateway that is there keeps its name, its broker and its trust.
for kept in gateway.yaml trust; do
  [ ! -e "${PREFIX}/$kept" ] || { rm -rf "$new/$kept"; cp -R "${PREFIX}/$kept" "$new/$kept"; }
done
chmod -R u=rwX,go=rX "$new"
systemctl stop tremolo 2> /dev/null || true
rm -rf '${PREFIX}.old'
[ ! -e '${PREFIX}' ] || mv '${PREFIX}' '${PREFIX}.old'
mv "$new" '${PREFIX}'
cp '${PREFIX}/tremolo.service' /etc/systemd/system/tremolo.service
systemctl daemon-reload
systemctl enable --now tremolo
echo 'installed; see: journalctl -u tremolo -f'
`;
}

/** In place of the trust root, until there is one. */
export const TRUST_PLACEHOLDER = `The root of trust for updates belongs here as root.json: public keys only, by which this gateway checks every bundle
that is sent to it. Without it the gateway decides with the bundle that it was packed with.
`;
