import ApusDoors
import ApusService
import ArgumentParser

/// `apus broker`: the log and its doors.
struct BrokerCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "broker",
    abstract: "Run the durable log with its doors: TCP and HTTP.",
    discussion: """
      Producers publish and consumers subscribe through the TCP door (docs/protocol.md); the HTTP door tells the state.

      Examples:
        apus broker --data-dir /var/lib/apus
        curl http://127.0.0.1:9001/stats
      """)

  @OptionGroup(title: "Data") var data: DataOptions
  @OptionGroup(title: "Log") var log: LogOptions
  @OptionGroup var topic: TopicOptions
  @Option(name: .long, help: "Where the TCP door listens.", transform: Parsing.address)
  var tcpListen = ListenAddress(host: "127.0.0.1", port: 9000)
  @Option(name: .long, help: "Where the HTTP door listens.", transform: Parsing.address)
  var httpListen = ListenAddress(host: "127.0.0.1", port: 9001)
  @OptionGroup(title: "Process") var common: CommonOptions

  func run() async throws {
    let assembly = Assembly(role: "broker", common)
    let disk = try assembly.openDisk(data.dataDir)
    let embedded = try assembly.openLog(log, topic: topic.topic, on: disk, isCovered: false)
    let (door, status) = assembly.tcpDoor(embedded, listen: tcpListen)
    try await assembly.run(
      [
        ServicePart("log", LogPart(log: embedded)), ServicePart("tcp-door", door),
        assembly.announce("tcp", door.address),
      ] + assembly.parts("http", assembly.brokerServer(status, listen: httpListen)))
  }
}
