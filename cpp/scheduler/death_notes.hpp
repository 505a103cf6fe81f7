// scheduler/death_notes.hpp - the last texts about ends of processes: who ended one knows why, and others read it in an error.
//
// Invariants  N1 a note is named by a number that never comes back; its place is number % kNoteCount, so the newest are kept.
//             N2 a place with number n holds the whole text of note n; 0: none, or one that is being written.
// Locks       both methods under the domain's lock; bounded copies.
// Crash       a writer that dies leaves its place empty: an error without the details.
#pragma once

#include <cstring>
#include <string_view>

#include "shm/transaction.hpp"

namespace miniray::scheduler {

inline constexpr std::uint32_t kNoteCount = 16;
inline constexpr std::size_t kNoteBytes = 2036;

struct DeathNote {
  shm::Cell<std::uint64_t> number;  // N2
  std::uint32_t text_bytes;
  char text[kNoteBytes];
};
static_assert(sizeof(DeathNote) == 2048);

struct DeathNotes {
  shm::Cell<std::uint64_t> last;  // number
  DeathNote notes[kNoteCount];

  // Keeps a text, cut to kNoteBytes; its number.
  std::uint64_t write(shm::Transaction& transaction, std::string_view text) {
    const std::uint64_t number = last.get() + 1;
    DeathNote& note = notes[number % kNoteCount];
    transaction.set(last, number);
    transaction.set(note.number, 0);
    transaction.commit();  // N2: undoing what follows must not give an old number a new text
    note.text_bytes = static_cast<std::uint32_t>(text.size() < kNoteBytes ? text.size() : kNoteBytes);
    std::memcpy(note.text, text.data(), note.text_bytes);
    transaction.set(note.number, number);
    return number;
  }

  // Copies a text; how many bytes, 0 when newer ones have taken its place.
  [[nodiscard]] std::size_t read(std::uint64_t number, char (&text)[kNoteBytes]) const {
    const DeathNote& note = notes[number % kNoteCount];
    if (number == 0 || note.number.get() != number || note.text_bytes > kNoteBytes) return 0;
    std::memcpy(text, note.text, note.text_bytes);
    return note.text_bytes;
  }
};

}  // namespace miniray::scheduler
