/// Names of metrics, labels and units as Prometheus' OTLP receiver makes them with its default settings: characters
/// outside the classic set become `_`, units and types become suffixes (docs/reference/ways-in.md, "OTLP").
enum OTLPMetricName {
  /// What of a metric's type its name depends on.
  enum Form: UInt8 {
    case gauge = 0
    /// A sum that only grows: `_total`.
    case counter = 1
    case other = 2
  }

  /// The name for a metric, or nil when nothing usable is left of it.
  static func make(name: [UInt8], unit: [UInt8], form: Form) -> [UInt8]? {
    var words = name.split(whereSeparator: { !isNamePart($0) }).map(Array.init)
    let (main, per) = unitWords(unit)
    var mainWord = main
    if words.contains(mainWord) { mainWord = [] }
    var perWord = per
    if words.contains(perWord) { perWord = [] }
    if !perWord.isEmpty, mainWord.last == UInt8(ascii: "_") { mainWord.removeLast() }
    if !mainWord.isEmpty { words.append(mainWord) }
    if !perWord.isEmpty { words.append(perWord) }
    switch form {
    case .counter: moveToEnd("total", &words)
    // Objects are often counted in the unit "1", so only gauges are taken for ratios.
    case .gauge: if unit == [UInt8(ascii: "1")] { moveToEnd("ratio", &words) }
    case .other: break
    }
    var result = Array(words.joined(separator: [UInt8(ascii: "_")]))
    guard result.contains(where: { $0 != UInt8(ascii: "_") }), let first = result.first else { return nil }
    if ClassicNames.isDigit(first) { result.insert(UInt8(ascii: "_"), at: 0) }
    return result
  }

  /// The unit as the descriptor tells it: `By/s` is `bytes_per_second`.
  static func unitName(_ unit: [UInt8]) -> String {
    let (main, per) = unitWords(unit)
    return [main, per].filter { !$0.isEmpty }.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "_")
  }

  /// An attribute's key as a label's name: `http.method` is `http_method`; one that would begin with a digit or a single
  /// `_` gets `key` before it.
  static func labelName(_ key: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(key.count + 4)
    for byte in key {
      if ClassicNames.isPlain(byte) {
        result.append(byte)
      } else if byte & 0xc0 != 0x80 {
        result.append(UInt8(ascii: "_"))
      }
    }
    guard let first = result.first else { return result }
    if ClassicNames.isDigit(first) { return Array("key_".utf8) + result }
    if first == UInt8(ascii: "_"), result.count < 2 || result[1] != UInt8(ascii: "_") {
      return Array("key".utf8) + result
    }
    return result
  }

  private static func isNamePart(_ byte: UInt8) -> Bool {
    ClassicNames.isAlphanumeric(byte) || byte == UInt8(ascii: ":")
  }

  private static func moveToEnd(_ word: String, _ words: inout [[UInt8]]) {
    let word = Array(word.utf8)
    words.removeAll { $0 == word }
    words.append(word)
  }

  /// The two parts of a unit around its `/`, each as a suffix, or empty. Annotations in braces are no units.
  private static func unitWords(_ unit: [UInt8]) -> (main: [UInt8], per: [UInt8]) {
    let parts = unit.split(separator: UInt8(ascii: "/"), maxSplits: 1, omittingEmptySubsequences: false)
    let main = unitPart(parts.first ?? []) { units[$0] }
    let per = parts.count < 2 ? [] : unitPart(parts[1]) { perUnits[$0] }
    guard !per.isEmpty else { return (main, []) }
    var word = Array("per_".utf8) + per
    if word.last == UInt8(ascii: "_") { word.removeLast() }
    return (main, word.count > 4 ? word : [])
  }

  private static func unitPart(_ part: ArraySlice<UInt8>, _ known: (String) -> String?) -> [UInt8] {
    let trimmed = part.drop { $0 == 0x20 }.reversed().drop { $0 == 0x20 }.reversed()
    guard !trimmed.contains(UInt8(ascii: "{")), !trimmed.contains(UInt8(ascii: "}")) else { return [] }
    let text = String(decoding: trimmed, as: UTF8.self)
    var word: [UInt8] = []
    for byte in (known(text) ?? text).utf8 where byte & 0xc0 != 0x80 {
      let plain = isNamePart(byte) ? byte : UInt8(ascii: "_")
      if plain == UInt8(ascii: "_"), word.isEmpty || word.last == plain { continue }
      word.append(plain)
    }
    return word
  }

  /// UCUM's case-sensitive codes (ucum.org) and their names in the plural.
  private static let units: [String: String] = [
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes", "TiBy": "tebibytes",
    "kBy": "kilobytes", "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "TBy": "terabytes",
    "m": "meters", "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams",
    "Cel": "celsius", "Hz": "hertz", "1": "", "%": "percent",
  ]

  /// Behind the `/`, in the singular; here `m` is a minute.
  private static let perUnits: [String: String] = [
    "s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year",
  ]
}
