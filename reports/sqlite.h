// SQLite's C library as a few classes. Whatever fails is an InputError that names the file and
// SQLite's reason.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

struct sqlite3;
struct sqlite3_stmt;

namespace sinkbench::sqlite {

class Database {
 public:
  enum class Mode { read, write };  ///< write makes the file where there is none
  Database(std::filesystem::path file, Mode mode);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// One or several statements that have no rows.
  void execute(const std::string& sql);
  /// The first column of the first row of a query that has one.
  int64_t integer(const std::string& sql);
  int64_t last_insert_id() const;
  const std::filesystem::path& file() const { return file_; }
  [[noreturn]] void fail() const;

 private:
  friend class Statement;
  std::filesystem::path file_;
  sqlite3* handle_ = nullptr;
};

/// A prepared statement. Parameters and columns count from 0; they have to outlive `step`.
class Statement {
 public:
  Statement(Database& database, const std::string& sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int parameter, std::string_view text);
  Statement& bind(int parameter, int64_t value);
  Statement& bind_blob(int parameter, std::string_view bytes);
  /// Whether there is a (next) row.
  bool step();
  std::string text(int column) const;  ///< or the bytes of a blob; "" for NULL
  int64_t integer(int column) const;
  double number(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* handle_ = nullptr;
};

/// All or nothing: without `commit` it is as if nothing had been written. Others wait.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace sinkbench::sqlite
