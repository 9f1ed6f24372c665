#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

/// What the kernel says of this process, under the names that every Prometheus client uses, and which build it is.
package struct ProcessMetrics: Sendable {
  package var cpuSeconds: Double?
  package var residentBytes: Double?
  package var openFileDescriptors: Double?
  /// Seconds since 1970.
  package var startTimeSeconds: Double?

  /// Adds the `process_…` families and `apus_build_info` to a registry.
  package static func register(in registry: MetricsRegistry, version: String, role: String) {
    let build = registry.gauge(
      "apus_build_info", help: "Always 1; the labels say which build this is and what it does.",
      labels: [("version", version), ("role", role)])
    build.set(1)
    registry.collect { ProcessMetrics.read().families }
  }

  var families: [MetricFamily] {
    [
      ("process_cpu_seconds_total", "CPU time of this process, user and system, in seconds.", .counter, cpuSeconds),
      ("process_resident_memory_bytes", "Memory of this process that is in RAM.", .gauge, residentBytes),
      ("process_open_fds", "Open file descriptors.", .gauge, openFileDescriptors),
      ("process_start_time_seconds", "When this process began, in seconds since 1970.", .gauge, startTimeSeconds),
    ].compactMap { (name: String, help: String, kind: MetricFamily.Kind, value: Double?) in
      value.map { MetricFamily(kind, name, help, $0) }
    }
  }

  /// Asks the kernel; what it does not say on this system stays nil.
  package static func read() -> ProcessMetrics {
    var result = ProcessMetrics()
    #if os(Linux)
      let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
      // Fields are counted from behind the command's name, which may itself hold blanks and brackets: proc(5).
      if let stat = text(of: "/proc/self/stat"), let bracket = stat.lastIndex(of: ")") {
        let fields = stat[stat.index(after: bracket)...].split(separator: " ")
        if fields.count > 19, let user = Double(fields[11]), let system = Double(fields[12]) {
          result.cpuSeconds = (user + system) / ticksPerSecond
        }
        if fields.count > 19, let start = Double(fields[19]), let boot = bootTimeSeconds() {
          result.startTimeSeconds = boot + start / ticksPerSecond
        }
      }
      if let memory = text(of: "/proc/self/statm")?.split(separator: " "), memory.count > 1,
        let pages = Double(memory[1])
      {
        result.residentBytes = pages * Double(sysconf(Int32(_SC_PAGESIZE)))
      }
      result.openFileDescriptors = entryCount(of: "/proc/self/fd").map { Double($0) }
    #elseif canImport(Darwin)
      var usage = rusage()
      if getrusage(RUSAGE_SELF, &usage) == 0 {
        result.cpuSeconds =
          Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
          + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6
      }
      result.openFileDescriptors = entryCount(of: "/dev/fd").map { Double($0) }
    #endif
    return result
  }

  #if os(Linux)
    private static func bootTimeSeconds() -> Double? {
      text(of: "/proc/stat")?.split(separator: "\n").first { $0.hasPrefix("btime ") }
        .flatMap { Double($0.dropFirst(6)) }
    }

    /// The first 64 KiB of a file of the kernel's.
    private static func text(of path: String) -> String? {
      let descriptor = open(path, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { return nil }
      defer { close(descriptor) }
      var bytes = [UInt8](repeating: 0, count: 65_536)
      var filled = 0
      while filled < bytes.count {
        let count = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + filled, $0.count - filled) }
        if count <= 0 { break }
        filled += count
      }
      return String(decoding: bytes[..<filled], as: UTF8.self)
    }
  #endif

  private static func entryCount(of path: String) -> Int? {
    guard let folder = opendir(path) else { return nil }
    defer { closedir(folder) }
    var count = 0
    while let entry = readdir(folder) {
      // The two dots are skipped, and so is the descriptor of this walk below.
      if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
    }
    return max(0, count - 1)
  }
}
