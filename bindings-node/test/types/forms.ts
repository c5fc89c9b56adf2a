// Every call form and its types from a CommonJS project, compiled only. A line under @ts-expect-error must not compile.

import dig, {
  Connection,
  DigNatError,
  DownloadResult,
  FileClient,
  FileHost,
  HostFileCallback,
  CONNECTION_TYPE,
  ConnectionRegistry,
  ICEClient,
  NatProfile,
  NetworkManager,
  PunchedSocket,
  TURNClient,
  calculateSHA256,
  calculateSHA256File,
  connectWithICE,
  connectionRegistry,
  createFileClient,
  createFileHost,
  createTURNAllocation,
  createUPnPMapping,
  deleteUPnPMapping,
  detectNatType,
  discoverPublicIPs,
  downloadFile,
  getExternalAddressUPnP,
  performTCPHolePunch,
  performTCPSimultaneousOpen,
  performUDPHolePunch,
  upnpClient,
} from '@dignetwork/dig-nat-tools';

const hash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

export async function awaitableForms() {
  const host: FileHost = await createFileHost({ directory: new URL('file:///tmp') });
  const client: FileClient = await createFileClient({ requestTimeout: 1000 });
  const used: FileHost = createFileHost();
  const fromDefault: FileHost = dig.createHost();
  // @ts-expect-error the awaited host is not awaitable once more
  host.then;
  // @ts-expect-error a port is a number
  createFileHost({ port: '8080' });
  return { host, client, used, fromDefault };
}

export async function freeDownloads(signal: AbortSignal) {
  const byObject: DownloadResult = await downloadFile({ fileHash: hash, savePath: 'a', peers: ['127.0.0.1:1'], signal });
  const positional = await downloadFile(hash, 'a', [{ host: '127.0.0.1', port: 1 }], {
    progressCallback: (received: number, total: number) => console.log(received / total),
  });
  const withId = await downloadFile('id', hash, 'a', [{ address: '127.0.0.1', port: 1 }], {
    progressCallback: (progress: { percent: number }) => console.log(progress.percent),
    onProgress: (received, total) => console.log(received, total),
  });
  // @ts-expect-error two strings are no form
  await downloadFile(hash, 'a');
  return [byObject.filePath, positional.path, withId.toString(), withId.connectionTypes['x']];
}

export async function clientForms(client: FileClient) {
  const path: string = await client.downloadFile(hash, 'a', { onProgress: (fraction) => fraction.toFixed(2) });
  const fromHost: string = await client.downloadFile('127.0.0.1:1', hash, { savePath: 'a', onProgress: (r, t) => r / t });
  const swapped: string = await client.downloadFile(hash, '127.0.0.1:1', { savePath: 'a' });
  const byId: string = await client.downloadByContentId('id', { outputDir: 'downloads' });
  const fromPeers: DownloadResult = await client.downloadFileFromPeers([{ id: '12D3' }], hash, 'a');
  const { size } = await client.getFileInfo(hash, { timeout: 100 });
  const cancelled: boolean = client.cancelDownload(client.getActiveDownloads()[0]);
  await client.findPeers(hash, 5, 1000);
  await client.findPeers(hash, { maxPeers: 5, timeout: 1000 });
  for (const end of [client.stop(), client.shutdown(), client.disconnect()]) await end;
  return { path, fromHost, swapped, byId, fromPeers, size, cancelled };
}

export async function managerForms(manager: NetworkManager) {
  manager.on('connection', (connection: Connection) => {
    connection.on('data', (data) => console.log(data.length));
    connection.on('close', (reason) => console.log(reason?.code));
    connection.on('chat', (value: { text: string }) => console.log(value.text));
  });
  manager.on('peer:discovered', (peer) => console.log(peer.address, peer.port));
  const connection = await manager.connect('127.0.0.1:1');
  await connection.send('chat', { text: 'hello' });
  await connection.send(new Uint8Array(3));
  await manager.downloadFile('id', { savePath: 'a' });
  // @ts-expect-error the manager needs to know where to
  await manager.downloadFile(['127.0.0.1:1'], hash, {});
  const shared: string = await manager.shareFile('a', 'id');
  return [shared, manager.getContentHash('id'), manager.getContentId(hash), manager.getConnectionType('x')];
}

export async function hostForms(host: FileHost) {
  const { contentId, size } = await host.addFile('a', { contentId: 'id', announceLevel: 'high' });
  host.on('warning', ({ error }) => console.log(error.advice));
  host.on('file:added', ({ path }) => console.log(path));
  const announced: Map<string, boolean> = host.getAnnouncedFiles();
  const ports: { tcp: number; udp: number } = host.getListeningPorts();
  const callback: HostFileCallback = async (_id, startChunk, chunkSize) =>
    startChunk === 0 ? [Buffer.alloc(chunkSize)] : null;
  return { contentId, size, announced, ports, other: new FileHost({ hostFileCallback: callback }) };
}

export async function nats(host: FileHost) {
  const { ipv4, ipv6 } = await discoverPublicIPs({
    stunServers: ['stun:127.0.0.1:3478'],
    timeout: 5000,
    tryMultipleServers: true,
    useNATPMP: true,
    enableIPv6: false,
    preferIPv6: false,
  });
  const profile: NatProfile = await detectNatType();
  const step = profile.allocation?.kind === 'sequential' ? profile.allocation.step : 0;
  host.on('nat:detected', ({ natType }) => console.log(natType === 'symmetric'));
  host.on('relay:reserved', ({ address }) => console.log(address.length));
  const relay = new FileHost({ relayServer: true, relays: ['/ip4/127.0.0.1/tcp/1/p2p/x'] });
  // @ts-expect-error an address may be null
  ipv4.length;
  return [ipv4, ipv6, step, host.natProfile?.publicV4, relay];
}

export async function mappings() {
  const mapping = await createUPnPMapping({ internalPort: 1, externalPort: 2, protocol: 'TCP', description: 'x', ttl: 60 });
  if (!mapping.success) console.log(mapping.error);
  const done: boolean = await createUPnPMapping(1, 2, 'TCP', 'x');
  const gone: boolean = await deleteUPnPMapping({ externalPort: 2, protocol: 'TCP' });
  const outside: string | null = await getExternalAddressUPnP();
  const available: boolean = await upnpClient.isAvailable();
  return [mapping.externalPort, done, gone, outside, available];
}

export async function traversal(gunInstance: { get(key: string): unknown; put(data: unknown): unknown }) {
  const ends = { localEndpoint: { host: '0.0.0.0', port: 12345 }, remoteEndpoint: { host: '192.0.2.1', port: 54321 } };
  const udp: PunchedSocket = await performUDPHolePunch({ ...ends, timeout: 10000 });
  const tcp = await performTCPHolePunch({ remoteEndpoint: '192.0.2.1:1', localPorts: [12345, 12346] });
  const open = await performTCPSimultaneousOpen({ localId: 'a', remoteId: 'b', ...ends, signaling: gunInstance });
  // The forms of the original compile; without endpoints they are refused when they run.
  await performUDPHolePunch({ localId: 'a', remoteId: 'b', gun: gunInstance, localPort: 12345 });
  udp.on('data', (data) => console.log(data.length));
  if (udp.success) await tcp.socket.send(`${open.address}:${open.port}`);
  const turn = { turnServer: 'turn:example.org', turnUsername: 'user', turnPassword: 'pass' };
  const client = new TURNClient();
  const allocation = await client.requestAllocation({ ...turn, protocol: 'TCP' });
  allocation.on('data', (data, address, port) => console.log(data.length, address, port));
  await createTURNAllocation({ turnServers: [{ urls: ['turn:a', 'turns:b'], username: 'u', credential: 'p' }] });
  const signaling = { send: (message: Buffer) => message.length, receive: async () => null };
  const ice = await connectWithICE({ localId: 'a', remoteId: 'b', signaling, stunServers: [], ...turn });
  await new ICEClient({ allowPrivate: true }).connect({ signaling });
  await connectWithICE({ localId: 'a', remoteId: 'b', signaling: gunInstance });
  // @ts-expect-error neither Gun nor a carrier
  await connectWithICE({ localId: 'a', remoteId: 'b', signaling: { send: signaling.send } });
  return `${allocation.relayedAddress}:${allocation.relayedPort} ${ice.remoteCandidate?.type}`;
}

export async function registries() {
  await connectionRegistry.saveSuccessfulConnection('peer', CONNECTION_TYPE.TCP, { address: '192.0.2.1', port: 1 });
  const known: CONNECTION_TYPE[] = new ConnectionRegistry({ registryDir: 'a' }).getSuccessfulMethods('peer');
  return [known, (await connectionRegistry.getConnectionMethod('peer'))?.lastSuccessTime];
}

export function errors(error: unknown) {
  if (error instanceof DigNatError && error.code === 'ERR_NO_PEERS') {
    return `${error.number}: ${error.advice}`;
  }
  return calculateSHA256('text') + calculateSHA256(Buffer.alloc(1)) + calculateSHA256File('a');
}
