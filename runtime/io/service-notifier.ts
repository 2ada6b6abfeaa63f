import { execFile } from 'node:child_process';

/** What systemd is told of a service of Type=notify. */
export interface ServiceNotifier {
  ready(): void;
  stopping(): void;
}

/**
 * Tells systemd that the gateway is ready and, where the unit has WatchdogSec=, twice in that time that it is well. Does nothing where NOTIFY_SOCKET is
 * not set.
 *
 * Node has no datagram sockets of the Unix kind, so the program `systemd-notify` is started for each message (10 ms of CPU time): the unit needs
 * NotifyAccess=all. Where the program is missing, use Type=exec without WatchdogSec=.
 *
 * @param sickness why the gateway does not do its work: then the watchdog is not told, and systemd restarts the service
 * @param onError told where systemd-notify cannot be run
 */
export function createServiceNotifier(sickness: () => string | undefined, onError: (error: Error) => void): ServiceNotifier {
  const { NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID } = process.env;
  const tell = (...states: string[]) => {
    if (!NOTIFY_SOCKET) return;
    execFile('systemd-notify', [`--pid=${process.pid}`, ...states], { timeout: 10_000 }, (error) => error && onError(error));
  };
  let timer: NodeJS.Timeout | undefined;
  const isWatched = WATCHDOG_USEC !== undefined && (WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid);
  return {
    ready() {
      tell('READY=1');
      if (!NOTIFY_SOCKET || !isWatched) return;
      const periodMs = Number(WATCHDOG_USEC) / 1000 / 2;
      timer = setInterval(() => {
        if (sickness() === undefined) tell('WATCHDOG=1');
      }, periodMs);
      timer.unref();
    },
    stopping() {
      clearInterval(timer);
      tell('STOPPING=1');
    },
  };
}
