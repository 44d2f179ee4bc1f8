// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// memcpy, memmove and memset, written in LLVM IR: 32 bytes at a time, then
// what is left. `no-builtins` keeps their own loops from becoming calls of
// themselves.

#include "MemoryFunctions.h"

#include "llvm/AsmParser/Parser.h"
#include "llvm/IR/Module.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/SourceMgr.h"

static constexpr const char *text = R"(
define hidden ptr @memcpy(ptr %d, ptr %s, i64 %n) #0 {
  %large = icmp uge i64 %n, 32
  br i1 %large, label %blocks, label %small
blocks:
  %last = sub i64 %n, 32
  br label %block
block:
  %i = phi i64 [0, %blocks], [%i.next, %block]
  %from = getelementptr i8, ptr %s, i64 %i
  %to = getelementptr i8, ptr %d, i64 %i
  %v = load <32 x i8>, ptr %from, align 1
  store <32 x i8> %v, ptr %to, align 1
  %i.next = add i64 %i, 32
  %more = icmp ult i64 %i.next, %last
  br i1 %more, label %block, label %tail
tail:
  %from.last = getelementptr i8, ptr %s, i64 %last
  %to.last = getelementptr i8, ptr %d, i64 %last
  %v.last = load <32 x i8>, ptr %from.last, align 1
  store <32 x i8> %v.last, ptr %to.last, align 1
  ret ptr %d
small:
  %none = icmp eq i64 %n, 0
  br i1 %none, label %done, label %byte
byte:
  %k = phi i64 [0, %small], [%k.next, %byte]
  %from.k = getelementptr i8, ptr %s, i64 %k
  %to.k = getelementptr i8, ptr %d, i64 %k
  %b = load i8, ptr %from.k
  store i8 %b, ptr %to.k
  %k.next = add i64 %k, 1
  %end = icmp eq i64 %k.next, %n
  br i1 %end, label %done, label %byte
done:
  ret ptr %d
}

define hidden ptr @memmove(ptr %d, ptr %s, i64 %n) #0 {
  %d.int = ptrtoint ptr %d to i64
  %s.int = ptrtoint ptr %s to i64
  %ahead = sub i64 %d.int, %s.int
  %backward = icmp ult i64 %ahead, %n
  br i1 %backward, label %back, label %forward
back:
  %k = phi i64 [%n, %0], [%k.next, %back.step]
  %k.wide = icmp uge i64 %k, 32
  br i1 %k.wide, label %back.block, label %back.rest
back.block:
  %k.block = sub i64 %k, 32
  %from = getelementptr i8, ptr %s, i64 %k.block
  %to = getelementptr i8, ptr %d, i64 %k.block
  %v = load <32 x i8>, ptr %from, align 1
  store <32 x i8> %v, ptr %to, align 1
  br label %back.step
back.rest:
  %k.none = icmp eq i64 %k, 0
  br i1 %k.none, label %done, label %back.byte
back.byte:
  %k.one = sub i64 %k, 1
  %from.one = getelementptr i8, ptr %s, i64 %k.one
  %to.one = getelementptr i8, ptr %d, i64 %k.one
  %b = load i8, ptr %from.one
  store i8 %b, ptr %to.one
  br label %back.step
back.step:
  %k.next = phi i64 [%k.block, %back.block], [%k.one, %back.byte]
  br label %back
forward:
  %i = phi i64 [0, %0], [%i.next, %forward.step]
  %left = sub i64 %n, %i
  %from.f = getelementptr i8, ptr %s, i64 %i
  %to.f = getelementptr i8, ptr %d, i64 %i
  %i.wide = icmp uge i64 %left, 32
  br i1 %i.wide, label %forward.block, label %forward.rest
forward.block:
  %v.f = load <32 x i8>, ptr %from.f, align 1
  store <32 x i8> %v.f, ptr %to.f, align 1
  %i.block = add i64 %i, 32
  br label %forward.step
forward.rest:
  %i.none = icmp eq i64 %left, 0
  br i1 %i.none, label %done, label %forward.byte
forward.byte:
  %b.f = load i8, ptr %from.f
  store i8 %b.f, ptr %to.f
  %i.one = add i64 %i, 1
  br label %forward.step
forward.step:
  %i.next = phi i64 [%i.block, %forward.block], [%i.one, %forward.byte]
  br label %forward
done:
  ret ptr %d
}

define hidden ptr @memset(ptr %d, i32 %value, i64 %n) #0 {
  %byte = trunc i32 %value to i8
  %one = insertelement <32 x i8> poison, i8 %byte, i64 0
  %all = shufflevector <32 x i8> %one, <32 x i8> poison, <32 x i32> zeroinitializer
  br label %head
head:
  %i = phi i64 [0, %0], [%i.next, %step]
  %left = sub i64 %n, %i
  %to = getelementptr i8, ptr %d, i64 %i
  %wide = icmp uge i64 %left, 32
  br i1 %wide, label %block, label %rest
block:
  store <32 x i8> %all, ptr %to, align 1
  %i.block = add i64 %i, 32
  br label %step
rest:
  %none = icmp eq i64 %left, 0
  br i1 %none, label %done, label %single
single:
  store i8 %byte, ptr %to
  %i.one = add i64 %i, 1
  br label %step
step:
  %i.next = phi i64 [%i.block, %block], [%i.one, %single]
  br label %head
done:
  ret ptr %d
}

attributes #0 = { nounwind noinline "no-builtins" }
)";

mlir::LogicalResult adaptive::cpu::addMemoryFunctions(llvm::Module &module) {
  llvm::SMDiagnostic error;
  auto buffer = llvm::MemoryBuffer::getMemBuffer(text);
  return mlir::failure(
      llvm::parseAssemblyInto(*buffer, &module, nullptr, error));
}
