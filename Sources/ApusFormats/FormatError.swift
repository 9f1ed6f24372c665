import ApusIO
import ApusModel

/// Why bytes from outside could not be read as the format that they were said to be in.
package enum FormatError: Error, Hashable, Sendable {
  /// Not JSON, or not an object or an array of objects.
  case json(JSONError)
  /// A telemetry object, or a row of a CSV, that cannot be used. `position` is a byte (JSON) or a line (CSV).
  case telemetry(TelemetryProblem, position: Int)
  /// A columnar record that cannot be decoded; `offset` in bytes from its start.
  case record(RecordProblem, offset: Int)
  /// The structure of a CSV file is broken.
  case csv(CSVProblem, line: Int)
  /// A protocol buffer that cannot be read to its end; `offset` in bytes from the start of the (expanded) body.
  case protobuf(ProtobufProblem, offset: Int)
  /// A request with more of something than one may hold. Nothing of it is taken.
  case tooMany(RequestBound, limit: Int)
}

/// What is wrong with a telemetry object.
package enum TelemetryProblem: Error, Hashable, Sendable {
  /// The row does not say which GPU it is about.
  case missingGPU
  case missingMetricName
  case missingValue
  /// The value is no number.
  case invalidValue
  /// Neither RFC 3339 nor Unix time.
  case invalidTimestamp
  /// `labels_raw` does not hold `name="value"` pairs.
  case invalidLabels
  /// A field has a JSON type that it cannot have.
  case wrongType(TelemetryField)
  /// A field is longer than the bound.
  case fieldTooLong(TelemetryField, limit: Int)
  /// The row has more labels than the bound.
  case tooManyLabels(limit: Int)
  /// A row of a CSV with more or fewer fields than the header.
  case fieldCount(found: Int, expected: Int)
  case notUTF8
  /// The file has more series than the bound.
  case tooManySeries(limit: Int)
}

/// What is wrong with a columnar record.
package enum RecordProblem: Hashable, Sendable {
  case truncated
  case unknownKind(UInt8)
  case unsupportedVersion(UInt8)
  /// Flags or reserved bytes that this version does not define.
  case unknownFlags(UInt8)
  /// A count or length beyond its bound, or beyond what the bytes could hold.
  case outOfBounds
  case notUTF8
  /// Labels that are empty, not in ascending order, or refer to a pair that is not there.
  case invalidLabels
  case duplicateSeries
  case unknownMetricKind(UInt8)
  /// The content does not have the identity that the record announces.
  case identityMismatch(announced: SeriesSetID, computed: SeriesSetID)
  /// A scrape has another number of values than its set has series.
  case valueCount(found: Int, expected: Int)
  /// A bit is set behind the last series.
  case invalidBitmap
  case timestampsDescend
  case trailingBytes(Int)
}

/// What is wrong with a CSV file as a whole.
package enum CSVProblem: Error, Hashable, Sendable {
  /// A column that no row can do without is not in the header.
  case missingColumn(TelemetryField)
  case duplicateColumn(TelemetryField)
  case emptyFile
  /// A row longer than the bound. The reader goes on behind it.
  case rowTooLong(limit: Int)
  /// The file ends inside a quoted field.
  case unterminatedQuote
  /// Something other than a comma or the end of the row follows a closing quote.
  case textAfterQuote
  case tooManyColumns(limit: Int)
}

extension FormatError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .json(let error): error.description
    case .telemetry(let problem, let position): "invalid telemetry at \(position): \(problem)"
    case .record(let problem, let offset): "invalid scrape record at byte \(offset): \(problem)"
    case .csv(let problem, let line): "invalid CSV at line \(line): \(problem)"
    case .protobuf(let problem, let offset): "invalid protocol buffer at byte \(offset): \(problem)"
    case .tooMany(let what, let limit): "the request has more than \(limit) \(what.rawValue); send it in parts"
    }
  }
}

extension TelemetryProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .missingGPU: "gpu_id is missing or empty"
    case .missingMetricName: "metric_name is missing or empty"
    case .missingValue: "value is missing or empty"
    case .invalidValue: "value is not a number, NaN, +Inf or -Inf"
    case .invalidTimestamp: "timestamp is neither RFC 3339 nor Unix seconds"
    case .invalidLabels: "labels_raw does not hold name=\"value\" pairs joined by commas"
    case .wrongType(let field): "\(field.name) has the wrong JSON type"
    case .fieldTooLong(let field, let limit): "\(field.name) is longer than \(limit) bytes"
    case .tooManyLabels(let limit): "there are more than \(limit) labels"
    case .fieldCount(let found, let expected): "the row has \(found) fields and the header \(expected)"
    case .notUTF8: "the text is not UTF-8"
    case .tooManySeries(let limit): "there are more than \(limit) series"
    }
  }
}

extension RecordProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .truncated: "it ends too early"
    case .unknownKind(let kind): "there is no record kind \(kind)"
    case .unsupportedVersion(let version):
      "format version \(version) is not known; this program reads up to \(ScrapeRecord.version), so use a newer one"
    case .unknownFlags(let flags): "flags \(flags) are not known in this version"
    case .outOfBounds: "a count or length is out of bounds"
    case .notUTF8: "a text is not UTF-8"
    case .invalidLabels: "labels are empty, out of order, or not in the dictionary"
    case .duplicateSeries: "a series occurs twice"
    case .unknownMetricKind(let kind): "there is no metric type \(kind)"
    case .identityMismatch(let announced, let computed):
      "the set is announced as \(announced) and its content is \(computed)"
    case .valueCount(let found, let expected): "\(found) values for a set of \(expected) series"
    case .invalidBitmap: "the bitmap has bits behind the last series"
    case .timestampsDescend: "timestamps are not in ascending order"
    case .trailingBytes(let count): "\(count) bytes follow its end"
    }
  }
}

extension CSVProblem: CustomStringConvertible {
  package var description: String {
    switch self {
    case .missingColumn(let field): "the header has no column \(field.name)"
    case .duplicateColumn(let field): "the header has the column \(field.name) twice"
    case .emptyFile: "there is no header"
    case .rowTooLong(let limit): "the row is longer than \(limit) bytes"
    case .unterminatedQuote: "the file ends inside a quoted field"
    case .textAfterQuote: "a quoted field is not followed by a comma or the end of the row"
    case .tooManyColumns(let limit): "the header has more than \(limit) columns"
    }
  }
}
