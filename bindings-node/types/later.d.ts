// Options of the original package that this version only accepts. Not here: options that do something, which are in
// index.d.ts.

/** Switches of the original package that are accepted and have no effect in this version. */
export interface LaterOptions {
  dhtEnabled?: boolean;
  pexEnabled?: boolean;
  gunEnabled?: boolean;
  enableDHT?: boolean;
  enablePEX?: boolean;
  enableGun?: boolean;
  enableWebRTC?: boolean;
  preferIPv6?: boolean;
  turnServer?: string;
  turnUsername?: string;
  turnPassword?: string;
  gun?: any;
  gunOptions?: { [name: string]: any };
  dhtOptions?: { [name: string]: any };
  nodeId?: string;
}
