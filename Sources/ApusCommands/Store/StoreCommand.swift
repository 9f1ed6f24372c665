import ApusAdapters
import ApusIO
import ApusService
import ApusStore
import ArgumentParser

/// `apus store …`.
struct StoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Flush, merge, back up, restore, verify and inspect a store.",
    discussion: """
      flush, compact, snapshot and delete ask a running server (--api); restore, verify and inspect read files.

      Examples:
        apus store snapshot before-upgrade
        apus store restore apus-data/store/snapshots/before-upgrade --data-dir /var/lib/apus
        apus store verify apus-data
      """,
    subcommands: [
      StoreFlushCommand.self, StoreCompactCommand.self, StoreSnapshotCommand.self, StoreRestoreCommand.self,
      StoreVerifyCommand.self, StoreInspectCommand.self, StoreDeleteCommand.self,
    ])
}

/// Which server a command of `apus store` speaks to.
struct AdminOptions: ParsableArguments {
  @Option(name: .long, help: "The server that has the store: http://HOST:PORT of apus up, apus api or apus collect.")
  var api = "http://127.0.0.1:8080"

  @Option(
    name: .long, help: "The configuration file. Without it apus.yaml in the working directory is read if it is there.")
  var config: String?

  /// Asks the server; the numbers and texts of its answer by name.
  func post(_ path: String, _ query: [(name: String, value: String)] = []) async throws -> AdminAnswer {
    do throws(StoreError) {
      let client = try AdminClient(url: api)
      return AdminAnswer(try await client.post("/api/v1/admin/store/" + path, query))
    } catch { throw StartupError(store: error) }
  }
}

/// A JSON object of numbers and texts.
struct AdminAnswer {
  private var numbers: [String: Double] = [:]
  private var texts: [String: String] = [:]

  init(_ body: [UInt8]) {
    body.withUnsafeBytes { raw in
      var scanner = JSONScanner(raw)
      do {
        try scanner.beginObject()
        while let key = try scanner.nextKey() {
          switch try scanner.peekKind() {
          case .number: numbers[key.string] = try scanner.readNumber().double
          case .string: texts[key.string] = try scanner.readString().string
          default: try scanner.skipValue()
          }
        }
      } catch {
        // What was read before is shown; the server has done its work.
        return
      }
    }
  }

  subscript(name: String) -> Int { Int(numbers[name] ?? 0) }

  func text(_ name: String) -> String { texts[name] ?? "" }

  /// `in 1.23 s`
  var duration: String { "in " + Figures.seconds(numbers["seconds"] ?? 0) }
}

extension StartupError {
  /// An error of a store that a command met.
  init(store error: StoreError) {
    let code: ApusService.ExitCode =
      switch error {
      case .disk(let cause): StartupError(disk: cause, flag: "").exitCode
      case .unreachable, .closed: .unavailable
      case .invalidConfiguration: .usage
      case .snapshotExists: .cannotCreate
      case .corrupt, .unsupportedVersion, .refused, .tooManySamples, .gap, .headFull: .dataError
      }
    self.init(error.description, exitCode: code)
  }
}

struct StoreFlushCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "flush", abstract: "Write what is in memory into blocks; done when it is.")

  @OptionGroup var admin: AdminOptions

  func run() async throws {
    let answer = try await admin.post("flush")
    print(
      "flushed: \(answer["samples"]) samples in \(answer["blocks_written"]) blocks,"
        + " \(Figures.bytes(Int64(answer["bytes"]))), \(answer.duration)")
  }
}

struct StoreCompactCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compact", abstract: "Merge what there is to merge; done when nothing is left.")

  @OptionGroup var admin: AdminOptions

  func run() async throws {
    let answer = try await admin.post("compact")
    print(
      "merged: \(answer["blocks_merged"]) blocks into \(answer["blocks_written"]), \(answer["samples"]) samples,"
        + " \(Figures.bytes(Int64(answer["bytes"]))), \(answer.duration)")
  }
}

struct StoreDeleteCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "delete", abstract: "Delete the samples of series from every query.",
    discussion: """
      What comes later is not deleted. The disk is given back when blocks are merged (apus store compact).

      Example: apus store delete 'DCGM_FI_DEV_GPU_TEMP{Hostname="node-1"}' --until 2026-01-01T00:00:00Z
      """)

  @Argument(help: "Selectors as PromQL writes them, with = and != only; the series of each are deleted.")
  var selectors: [String]

  @Option(name: .long, help: "Only samples from this time on: RFC 3339 or seconds since 1970.")
  var since: String?

  @Option(name: .long, help: "Only samples up to this time.")
  var until: String?

  @OptionGroup var admin: AdminOptions

  func run() async throws {
    var query = selectors.map { (name: "match[]", value: $0) }
    if let since { query.append(("start", since)) }
    if let until { query.append(("end", until)) }
    let answer = try await admin.post("delete", query)
    print("deleted: the series of \(answer["selectors"]) selectors, \(answer.duration)")
  }
}
