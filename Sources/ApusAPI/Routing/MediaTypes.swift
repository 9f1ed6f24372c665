/// Which of the offered media types a client would rather have (RFC 9110, section 12.5.1).
enum MediaTypes {
  /// The best of `offered` by the header's weights, the first of equals; nil when it takes none of them. A client that
  /// sends no header takes the first.
  static func best(of offered: [String], for accept: String?) -> String? {
    guard let accept, !accept.trimmedAll.isEmpty else { return offered.first }
    let ranges = accept.lowercased().split(separator: ",").map(Range.init)
    var best: (type: String, weight: Double)?
    for type in offered {
      // The most specific range that matches decides.
      let matching = ranges.filter { $0.matches(type) }.max { $0.specificity < $1.specificity }
      guard let weight = matching?.weight, weight > 0 else { continue }
      if best.map({ weight > $0.weight }) ?? true { best = (type, weight) }
    }
    return best?.type
  }

  private struct Range {
    var type: Substring
    var weight = 1.0

    init(_ text: Substring) {
      let parts = text.split(separator: ";").map(\.trimmed)
      type = parts.first ?? ""
      for part in parts.dropFirst() where part.hasPrefix("q=") { weight = Double(part.dropFirst(2)) ?? 1 }
    }

    var specificity: Int { type == "*/*" ? 0 : type.hasSuffix("/*") ? 1 : 2 }

    func matches(_ offered: String) -> Bool {
      if type == "*/*" || type == "*" { return true }
      if type.hasSuffix("/*") { return offered.hasPrefix(type.dropLast(1)) }
      return offered == type
    }
  }
}

extension String {
  fileprivate var trimmedAll: Substring { self[...].trimmed }
}
