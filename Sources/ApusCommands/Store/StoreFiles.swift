import ApusIO
import ApusService
import ApusStore
import ArgumentParser
import Foundation

/// Paths of a command line as the disk of the whole machine sees them.
enum StoreFiles {
  /// The disk whose paths are absolute ones.
  static func disk() throws(StartupError) -> PosixDisk {
    do { return try PosixDisk(root: "/") } catch { throw StartupError(disk: error, flag: "/") }
  }

  /// An absolute path, without the slash at its beginning.
  static func path(_ text: String) -> String {
    let absolute = text.hasPrefix("/") ? text : FileManager.default.currentDirectoryPath + "/" + text
    return absolute.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
  }

  /// The folder of a store: the one named, or `store/` in it when that is a data folder.
  static func folder(_ text: String, _ disk: PosixDisk) throws(StartupError) -> StoreFolder {
    var directory = path(text)
    do throws(DiskError) {
      let inner = Disks.join(directory, "store")
      let isStore = try disk.exists(Disks.join(directory, "MANIFEST"))
      let isDataFolder = try disk.exists(Disks.join(inner, "MANIFEST"))
      if !isStore && isDataFolder { directory = inner }
      if !isStore && !isDataFolder {
        throw DiskError(kind: .notFound, operation: "open", path: "/" + Disks.join(directory, "MANIFEST"))
      }
    } catch {
      throw StartupError(
        "\(text) is no store and no snapshot: \(error)", exitCode: StartupError(disk: error, flag: "").exitCode)
    }
    do { return try StoreFolder(disk, directory: directory) } catch { throw StartupError(store: error) }
  }
}

struct StoreSnapshotCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot", abstract: "Make a consistent copy of a store's files.",
    discussion: """
      A running server makes it below snapshots/ in its store's folder, without stopping to take samples in; blocks are
      shared with the store by hard links. Copy that folder elsewhere for a backup; remove it to be rid of it. With --offline
      the files of a store that no process has open are copied into --to.

      Examples:
        apus store snapshot before-upgrade
        apus store snapshot --offline /var/lib/apus --to /backup/apus-today
      """)

  @Argument(help: "The snapshot's name. Default: the time, like 2026-01-01T00-00-00Z.")
  var name: String?

  @Option(name: .long, help: "A store that no process has open, instead of a running server's: its folder.")
  var offline: String?

  @Option(name: .long, help: "With --offline: the folder to make; there must be nothing, or an empty folder.")
  var to: String?

  @OptionGroup var admin: AdminOptions

  func validate() throws {
    if (offline == nil) != (to == nil) { throw ValidationError("--offline and --to are given together") }
    if offline != nil && name != nil {
      throw ValidationError("with --offline the snapshot has no name but the folder --to")
    }
    if let name, SnapshotName(name) == nil {
      throw ValidationError(
        "\(name) cannot be a snapshot's name; use 1 to 128 of A-Z a-z 0-9 . _ - and no dot at its beginning")
    }
  }

  func run() async throws {
    if let offline, let to {
      let disk = try StoreFiles.disk()
      let folder = try StoreFiles.folder(offline, disk)
      let progress = FolderProgress("copied")
      do throws(StoreError) {
        let (made, _) = try folder.copy(to: StoreFiles.path(to), isLinking: true, progress: progress.update)
        progress.end()
        print("copied: \(made.blocks) blocks, \(made.samples) samples, \(Figures.bytes(made.bytes)), to \(to)")
      } catch {
        progress.end()
        throw StartupError(store: error)
      }
      return
    }
    let answer = try await admin.post("snapshot", name.map { [("name", $0)] } ?? [])
    print(
      "snapshot \(answer.text("name")): \(answer["blocks"]) blocks, \(answer["samples"]) samples,"
        + " \(Figures.bytes(Int64(answer["bytes"]))), \(answer.duration); in the store's folder: snapshots/"
        + answer.text("name"))
  }
}

struct StoreRestoreCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restore", abstract: "Make the store of a data folder from a snapshot.",
    discussion: """
      Every checksum is verified on the way. Nothing is ever written over: the data folder must have no store.

      A store knows how far it has read its log. With the log that it was taken from, or none of its records dropped
      since, it goes on from there: nothing is missing and nothing is there twice. With another log say --reset-positions:
      then the log is read from its beginning, and samples that the store has already are taken in over themselves.

      Example: apus store restore /backup/apus-today --data-dir /var/lib/apus
      """)

  @Argument(help: "The folder of a snapshot, or of a store that no process has open.")
  var snapshot: String

  @OptionGroup var data: DataOptions

  @Flag(name: .long, help: "Forget how far the log has been read; for a data folder or a broker with another log.")
  var resetPositions = false

  @Option(
    name: .long, help: "The configuration file. Without it apus.yaml in the working directory is read if it is there.")
  var config: String?

  func run() async throws {
    let disk = try StoreFiles.disk()
    let folder = try StoreFiles.folder(snapshot, disk)
    let target = Disks.join(StoreFiles.path(data.dataDir), "store")
    let progress = FolderProgress("restored")
    do throws(StoreError) {
      let (made, positions) = try folder.copy(
        to: target, isLinking: false, resetsPositions: resetPositions, progress: progress.update)
      progress.end()
      print("restored: \(made.blocks) blocks, \(made.samples) samples, \(Figures.bytes(made.bytes)), to /\(target)")
      for (partition, offset) in positions.sorted(by: { $0.key.description < $1.key.description }) {
        print("the log of \(partition) is read on from offset \(offset)")
      }
      if positions.isEmpty { print("the log is read from its beginning") }
    } catch {
      progress.end()
      throw StartupError(store: error)
    }
  }
}

struct StoreVerifyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Read all of a store's files and say what is damaged.",
    discussion: """
      Every checksum is compared and every number decoded; nothing is changed. A snapshot can be verified as well, and the
      store of a running process as it is at one moment. Exit status 0: sound; 1: damaged.

      Example: apus store verify /var/lib/apus
      """)

  @Argument(help: "The folder of a store or a snapshot, or a data folder.")
  var folder: String

  func run() async throws {
    let disk = try StoreFiles.disk()
    let opened = try StoreFiles.folder(folder, disk)
    let progress = FolderProgress("verified")
    let found: StoreVerification
    do throws(StoreError) {
      found = try StoreVerification(opened, progress: progress.update)
      progress.end()
    } catch {
      progress.end()
      throw StartupError(store: error)
    }
    for note in found.notes { print("note: \(note)") }
    for finding in found.findings { print("/\(finding.file): \(finding.place): \(finding.reason)") }
    if found.findingCount > found.findings.count {
      print("and \(found.findingCount - found.findings.count) more")
    }
    print(
      "\(found.blocks) blocks, \(found.series) series, \(found.samples) samples, \(Figures.bytes(found.bytes)): "
        + (found.findingCount == 0 ? "sound" : "\(found.findingCount) findings"))
    if found.findingCount > 0 { throw ArgumentParser.ExitCode(ApusService.ExitCode.checkFailed.rawValue) }
  }
}
