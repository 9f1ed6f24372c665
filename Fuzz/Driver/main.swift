import FuzzTargets

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

// `apus-fuzz TARGET [libFuzzer's arguments]`: attacks one decoder until it breaks or the time is up.
// `apus-fuzz --list` prints the names of the targets.

/// libFuzzer's entry for programs that have a `main` of their own.
@_silgen_name("LLVMFuzzerRunDriver")
func runDriver(
  _ argc: UnsafeMutablePointer<CInt>, _ argv: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// The chosen target. Invariant (nonisolated(unsafe)): written once, before the search begins, on the only thread.
nonisolated(unsafe) var chosen = FuzzTargets.canary

func complain(_ text: String) {
  _ = Array(text.utf8).withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
}

func fuzz() -> CInt {
  let arguments = CommandLine.arguments
  let targets = FuzzTargets.all + [FuzzTargets.canary]
  guard arguments.count > 1 else {
    complain("usage: apus-fuzz TARGET [libFuzzer's arguments]; apus-fuzz --list\n")
    return 64
  }
  if arguments[1] == "--list" {
    for target in FuzzTargets.all { puts(target.name) }
    return 0
  }
  guard let target = targets.first(where: { $0.name == arguments[1] }) else {
    complain("there is no target \(arguments[1]); there are \(targets.map(\.name).joined(separator: ", "))\n")
    return 64
  }
  chosen = target
  var argv: [UnsafeMutablePointer<CChar>?] = [strdup(arguments[0]), strdup("-max_len=\(target.bytesMax)")]
  argv += arguments.dropFirst(2).map { strdup($0) }
  var argc = CInt(argv.count)
  argv.append(nil)
  return argv.withUnsafeMutableBufferPointer { buffer in
    var base = buffer.baseAddress
    return runDriver(&argc, &base) { bytes, count in
      chosen.run(UnsafeRawBufferPointer(start: bytes, count: count))
      return 0
    }
  }
}

exit(fuzz())
