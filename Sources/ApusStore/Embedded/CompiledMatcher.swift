import ApusModel

#if canImport(Glibc)
  import Glibc
#elseif canImport(Darwin)
  import Darwin
#endif

extension Labels {
  /// The order of `<`, many bytes at a time.
  func precedes(_ other: Labels) -> Bool {
    bytes.withUnsafeBytes { left in
      other.bytes.withUnsafeBytes { right in
        let shared = min(left.count, right.count)
        guard shared > 0, let first = left.baseAddress, let second = right.baseAddress else {
          return left.count < right.count
        }
        let order = memcmp(first, second, shared)
        return order != 0 ? order < 0 : left.count < right.count
      }
    }
  }
}

extension Labels {
  /// The value of a label, or nil where it is absent.
  func value(of label: [UInt8]) -> ArraySlice<UInt8>? {
    var result: ArraySlice<UInt8>?
    forEach { name, value in if name.elementsEqual(label) { result = value } }
    return result
  }
}

/// A matcher whose strings have been turned into bytes once, for comparing with label sets.
struct CompiledMatcher: Sendable {
  let label: [UInt8]
  /// The values that the condition names.
  let values: Set<[UInt8]>
  /// Whether it holds for those values or for all others.
  let isNegated: Bool

  init(_ matcher: Matcher) {
    label = Array(matcher.label.utf8)
    switch matcher.condition {
    case .equal(let value):
      values = [Array(value.utf8)]
      isNegated = false
    case .notEqual(let value):
      values = [Array(value.utf8)]
      isNegated = true
    case .oneOf(let wanted):
      values = Set(wanted.map { Array($0.utf8) })
      isNegated = false
    }
  }

  /// Holds for one value, which need not be text.
  init(label: [UInt8], value: [UInt8]) {
    self.label = label
    values = [value]
    isNegated = false
  }

  /// Whether the condition holds for a value; empty for an absent label.
  func matches(_ value: [UInt8]) -> Bool { values.contains(value) != isNegated }

  /// Whether series without the label meet the condition, so that an index over its values cannot find all.
  var matchesAbsent: Bool { matches([]) }

  func matches(_ labels: Labels) -> Bool {
    var value: [UInt8] = []
    labels.forEach { name, found in
      if name.elementsEqual(label) { value = Array(found) }
    }
    return matches(value)
  }
}

extension [CompiledMatcher] {
  init(_ matchers: [Matcher]) { self = matchers.map { CompiledMatcher($0) } }

  func matches(_ labels: Labels) -> Bool { allSatisfy { $0.matches(labels) } }
}
