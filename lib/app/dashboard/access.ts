/**
 * Who may talk to the dashboard.
 *
 * It has no password, so two attacks from a browser on the same machine matter: a page of another
 * site that reads the node's numbers (stopped by the Origin check), and a name of another site that
 * its owner lets point to 127.0.0.1, "DNS rebinding" (stopped by the Host check: a rebound request
 * carries the attacker's name). There is no third, "make the node do something", because nothing the
 * server answers changes state: for that reason it needs no token either.
 *
 * @module
 */

/** What the server listens on, for {@linkcode refusal}. */
export interface Endpoint {
  /** The address given to `listen`: `127.0.0.1`, `::1`, `0.0.0.0`, or a name. */
  hostname: string;
  port: number;
}

const loopbackNames = ["127.0.0.1", "localhost", "[::1]"];
const ipv4 = /^\d{1,3}(\.\d{1,3}){3}$/;
const ipv6 = /^\[[0-9a-f:.]+\]$/;

/** Writes a host the way it stands in a URL: IPv6 addresses in brackets, lower case. */
export function hostInUrl(hostname: string): string {
  const name = hostname.toLowerCase();
  return name.includes(":") && !name.startsWith("[") ? `[${name}]` : name;
}

/**
 * Tells why a request may not be answered, in one line, or undefined when it may.
 *
 * Only headers decide: a browser sets them itself and no page can forge them.
 */
export function refusal(headers: Headers, path: string, endpoint: Endpoint): string | undefined {
  const host = headers.get("host")?.toLowerCase();
  if (host === undefined || !hostAllowed(host, endpoint)) {
    return `Refused: the Host header must name this server, for example ${loopbackNames[0]}:` +
      `${endpoint.port}; open it under that address.`;
  }
  const origin = headers.get("origin")?.toLowerCase();
  if (origin !== undefined && origin !== `http://${host}`) {
    return "Refused: the request comes from another origin; only the dashboard's own page may ask.";
  }
  const site = headers.get("sec-fetch-site");
  const follows = headers.get("sec-fetch-mode") === "navigate" && path === "/";
  if ((site === "cross-site" || site === "same-site") && !follows) {
    return "Refused: another site may link to the dashboard but not load anything from it.";
  }
  return undefined;
}

function hostAllowed(host: string, { hostname, port }: Endpoint): boolean {
  const name = withoutPort(host, port);
  if (name === undefined) return false;
  if (loopbackNames.includes(name) || name === hostInUrl(hostname)) return true;
  // Listening everywhere was asked for: then any literal address will do, still no foreign name.
  const everywhere = hostname === "0.0.0.0" || hostname === "::";
  return everywhere && (ipv4.test(name) || ipv6.test(name));
}

/** `name:port` without its port, or undefined when the port is another one. */
function withoutPort(host: string, port: number): string | undefined {
  if (host.endsWith(`:${port}`)) return host.slice(0, -`:${port}`.length);
  return port === 80 && (!host.includes(":") || host.endsWith("]")) ? host : undefined;
}
